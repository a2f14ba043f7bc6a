-- The nodes heard of lately. KEYS: nodes. ARGV: time to live in ms.
expect(KEYS[1], 'hash')
local now = now_ms()
local live = {}
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do
  local seen, report = string.match(value, '^(%d+) (.*)$')
  if seen and tonumber(seen) > now - tonumber(ARGV[1]) then
    live[#live + 1] = seen
    live[#live + 1] = report
  end
end
return live
