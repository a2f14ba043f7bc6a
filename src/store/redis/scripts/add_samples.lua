-- Offers samples to the reservoir. KEYS: samples of class 1, samples of class 2.
-- ARGV: samples per class, then (class, key, bytes) of each.
expect(KEYS[1], 'zset')
expect(KEYS[2], 'zset')

local grown = {}
for i = 2, #ARGV, 3 do
  local key = KEYS[tonumber(ARGV[i])]
  redis.call('ZADD', key, ARGV[i + 1], ARGV[i + 2])
  grown[key] = true
end
for i = 1, 2 do
  if grown[KEYS[i]] then redis.call('ZREMRANGEBYRANK', KEYS[i], ARGV[1], -1) end
end
return 1
