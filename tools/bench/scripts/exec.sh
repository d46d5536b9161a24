# Runs a program as often as the first argument says.
i=0
while [ $i -lt "$1" ]; do
	"$2" || exit 1
	i=$((i + 1))
done
