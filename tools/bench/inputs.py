"""Inputs of the whole programs: made by arithmetic alone, the same each time."""


class Random:
    """A linear congruential generator: Python's own may change between versions."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        return (self.state >> 33) % n


def text(size):
    """Lines of words, frequent and rare ones."""
    r = Random(1)
    words = ["".join(chr(97 + r.below(26)) for _ in range(2 + r.below(8))) for _ in range(4000)]
    lines, length = [], 0
    while length < size:
        line = " ".join(words[r.below(1 + r.below(4000))] for _ in range(4 + r.below(9)))
        lines.append(line)
        length += len(line) + 1
    return "\n".join(lines) + "\n"


def c_function(r, i):
    callee = f"f{r.below(i)}(y, x & 15)" if i else "x"
    k = [1 + r.below(1000) for _ in range(8)]
    return f"""
/* function {i} */
static int f{i}(int x, int y)
{{
	int i, sum = {k[0]};
	struct point p = {{ x, y, {{ {k[1]}, {k[2]}, {k[3]} }} }};

	for (i = 0; i < (x & 7); i++) {{
		if ((sum ^ i) % {k[4]} < {k[5]})
			sum += p.list[i % 3] * y - {k[6]};
		else
			sum ^= (x << 3) + (int)sizeof(p);
	}}
	switch (y & 3) {{
	case 0:
		return sum + p.a;
	case 1:
		return x > {k[7]} ? {callee} : sum;
	default:
		break;
	}}
	return sum * p.b + table[i & 7];
}}
"""


def c_source(functions):
    """23 lines a function, no headers."""
    r = Random(2)
    head = "struct point { int a, b, list[3]; };\nstatic int table[8] = { 3, 1, 4, 1, 5, 9, 2, 6 };\n"
    body = "".join(c_function(r, i) for i in range(functions))
    return head + body + f"\nint main(int argc, char **argv)\n{{\n\treturn f{functions - 1}(argc, argv != 0);\n}}\n"


def all_inputs():
    yield "text", text(3 << 20)
    yield "big.c", c_source(3000)
    yield "small.c", c_source(20)
