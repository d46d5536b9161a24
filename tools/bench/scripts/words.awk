# Counts words, and prints the most frequent one.
{
	for (i = 1; i <= NF; i++)
		count[$i]++
	sum += length($0)
}
END {
	for (w in count)
		if (count[w] > most || (count[w] == most && w < best)) {
			most = count[w]
			best = w
		}
	print NR, sum, best, most
}
