# Forks as often as the argument says: a command substitution each time.
i=0
sum=0
while [ $i -lt "$1" ]; do
	x=$(echo $i)
	sum=$((sum + x))
	i=$((i + 1))
done
[ $sum = $(($1 * ($1 - 1) / 2)) ]
