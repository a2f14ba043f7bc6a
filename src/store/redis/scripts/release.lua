-- Gives the caller's lease back. KEYS: lease. ARGV: holder:fence.
expect(KEYS[1], 'string')
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
