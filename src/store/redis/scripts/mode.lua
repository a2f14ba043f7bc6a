-- Switches learning mode for the fleet. KEYS: mode, meta. ARGV: 0 or 1, origin, channel.
expect(KEYS[1], 'string')
local meta = read_meta(KEYS[2])
redis.call('SET', KEYS[1], ARGV[1])
announce(ARGV[3], 'mode', meta, ARGV[2])
return 1
