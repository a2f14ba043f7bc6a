-- Stores the measures against attacks. KEYS: protection. ARGV: what was merged into them ('' for nothing), the measures, time
-- to live in ms.
expect(KEYS[1], 'string')
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
