-- Extends the caller's lease. KEYS: lease. ARGV: holder:fence, ttl in ms.
expect(KEYS[1], 'string')
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
