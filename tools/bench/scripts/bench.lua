-- Calls, tables, strings and floating point, a little of each.
local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
assert(fib(25) == 75025)

local sieve, primes = {}, 0
for i = 2, 200000 do
  if not sieve[i] then
    primes = primes + 1
    for j = i * i, 200000, i do sieve[j] = true end
  end
end
assert(primes == 17984)

local parts = {}
for i = 1, 20000 do parts[#parts + 1] = string.format("%d:%x", i, i * 7919) end
local text = table.concat(parts, ",")
local matches = 0
for a in text:gmatch("(%d+):") do matches = matches + #a end
assert(matches > 0)

local seed, list = 1, {}
for i = 1, 20000 do
  seed = (seed * 16807) % 2147483647
  list[i] = seed
end
table.sort(list)
assert(list[1] <= list[2])

local x = 0.0
for i = 1, 500000 do x = x + math.sin(i) / i end
print(string.format("%.6f", x))
