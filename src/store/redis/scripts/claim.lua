-- Who executes a command. KEYS: claim, result. ARGV: holder, ttl in ms.
expect(KEYS[1], 'string')
expect(KEYS[2], 'string')
local result = redis.call('GET', KEYS[2])
if result then return {'done', result} end
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'won'} end
return {'lost'}
