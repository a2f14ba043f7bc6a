-- Reports a node and forgets the silent ones. KEYS: nodes. ARGV: boot id, report, time to live in ms.
expect(KEYS[1], 'hash')
local now = now_ms()
redis.call('HSET', KEYS[1], ARGV[1], int(now) .. ' ' .. ARGV[2])
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local seen = tonumber(string.match(flat[i + 1], '^(%d+) ') or '0')
  if seen <= now - tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], flat[i]) end
end
return 1
