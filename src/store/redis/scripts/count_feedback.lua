-- Counts entries after a position, no further than a limit. KEYS: feedback. ARGV: position, limit.
expect(KEYS[1], 'stream')
local from, left, count = ARGV[1], tonumber(ARGV[2]), 0
while left > 0 do
  local found = redis.call('XRANGE', KEYS[1], '(' .. from, '+', 'COUNT', math.min(left, 1000))
  count = count + #found
  left = left - #found
  if #found < 1000 then break end
  from = found[#found][1]
end
return count
