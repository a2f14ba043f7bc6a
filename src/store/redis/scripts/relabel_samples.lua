-- Replaces samples by another form of themselves. KEYS: samples of class 1, samples of class 2.
-- ARGV: (class, old bytes, new bytes) of each. One whose old form is gone is left alone. Returns how many were replaced.
expect(KEYS[1], 'zset')
expect(KEYS[2], 'zset')

local replaced = 0
for i = 1, #ARGV, 3 do
  local key = KEYS[tonumber(ARGV[i])]
  local score = redis.call('ZSCORE', key, ARGV[i + 1])
  if score then
    redis.call('ZREM', key, ARGV[i + 1])
    redis.call('ZADD', key, score, ARGV[i + 2])
    replaced = replaced + 1
  end
end
return replaced
