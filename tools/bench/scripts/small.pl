# A little of everything, so that much of the interpreter runs once.
use strict;
use warnings;
my %h = map { $_ => $_ ** 2 } 1 .. 50;
my $s = join ",", map { sprintf "%s=%05.1f", $_, $h{$_} } sort { $a <=> $b } keys %h;
$s =~ s/(\d+)=0*(\d+)/$2:$1/g;
my @parts = split /,/, lc $s;
my $sum = 0;
$sum += $_ for map { (split /:/)[0] } grep { /^\d+:\d+/ } @parts;
my $packed = pack "NnC*", 1, 2, 3 .. 20;
my @back = unpack "NnC*", $packed;
local $_ = "abcdefgh" x 20;
tr/a-d/A-D/;
my $object = bless { list => [reverse @back] }, "Thing";
sub Thing::total { my $t = 0; $t += $_ for @{ $_[0]{list} }; $t }
eval { die { code => 7 } };
printf "%d %d %d %s\n", $sum, $object->total, $@->{code}, substr($_, 3, 8);
