-- Loops that a tracing JIT compiles: a Mandelbrot set, a sieve, and string building.
local inside = 0
for py = 0, 299 do
  for px = 0, 299 do
    local cr, ci = px / 150 - 1.5, py / 150 - 1.0
    local zr, zi, n = 0.0, 0.0, 0
    while n < 100 and zr * zr + zi * zi < 4 do
      zr, zi = zr * zr - zi * zi + cr, 2 * zr * zi + ci
      n = n + 1
    end
    if n == 100 then inside = inside + 1 end
  end
end

local count
for round = 1, 10 do
  local sieve = {}
  count = 0
  for i = 2, 200000 do
    if not sieve[i] then
      count = count + 1
      for j = i + i, 200000, i do sieve[j] = true end
    end
  end
end
assert(count == 17984)

local seen, distinct = {}, 0
for i = 1, 200000 do
  local key = "k" .. (i * 7919 % 5003)
  if not seen[key] then
    seen[key] = true
    distinct = distinct + 1
  end
end
assert(distinct == 5003)
print(inside, count, distinct)
