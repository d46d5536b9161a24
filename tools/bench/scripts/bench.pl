# Hashes, regular expressions, sorting and calls, a little of each.
use strict;
use warnings;

sub fib { my $n = shift; return $n < 2 ? $n : fib($n - 1) + fib($n - 2) }
die unless fib(20) == 6765;

my ($seed, %count, @lines) = (1);
for my $i (1 .. 30000) {
	$seed = ($seed * 16807) % 2147483647;
	my $word = "w" . $seed % 1000;
	$count{$word}++;
	push @lines, "$word $seed";
}
my $digits = 0;
for (@lines) {
	$digits += length $1 if /(\d+)$/;
	s/w(\d)/W$1/;
}
my @sorted = sort { $a cmp $b } @lines;
my $top = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0];
print "$digits $top $sorted[0]\n";
