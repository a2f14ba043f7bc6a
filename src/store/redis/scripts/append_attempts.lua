-- Appends a batch and offers its samples. KEYS: attempts, samples of class 1, samples of class 2.
-- ARGV: most entries, oldest age in ms, samples per class, number of events, the events, then (class, key, bytes) of
-- each sample.
expect(KEYS[1], 'stream')
expect(KEYS[2], 'zset')
expect(KEYS[3], 'zset')
local events = tonumber(ARGV[4])

local last
for i = 5, 4 + events do last = redis.call('XADD', KEYS[1], '*', 'e', ARGV[i]) end
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
redis.call('XTRIM', KEYS[1], 'MINID', '~', int(math.max(now_ms() - tonumber(ARGV[2]), 0)))

local grown = {}
for i = 5 + events, #ARGV, 3 do
  local key = KEYS[1 + tonumber(ARGV[i])]
  redis.call('ZADD', key, ARGV[i + 1], ARGV[i + 2])
  grown[key] = true
end
for i = 2, 3 do
  if grown[KEYS[i]] then redis.call('ZREMRANGEBYRANK', KEYS[i], ARGV[3], -1) end
end
return last
