-- Who may train. KEYS: meta, lease. ARGV: trigger kind, name, value, holder, ttl in ms, highest fence the caller knows,
-- largest number.
local meta = read_meta(KEYS[1])
expect(KEYS[2], 'string')
if served(meta, ARGV[1], ARGV[2], ARGV[3]) then return {'done'} end

-- A lease without a time to live is none of ours and would block trainings for ever.
local remaining = redis.call('PTTL', KEYS[2])
if remaining > 0 then return {'held', int(remaining)} end

local fence = math.min(math.max(number(meta, 'fence'), tonumber(ARGV[6])), tonumber(ARGV[7]) - 1) + 1
redis.call('SET', KEYS[2], ARGV[4] .. ':' .. int(fence), 'PX', ARGV[5])
redis.call('HSET', KEYS[1], 'fence', int(fence))
return {'acquired', int(fence), int(now_ms()), redis.call('HGETALL', KEYS[1])}
