-- Takes a waiting candidate away. KEYS: candidate, its artifact, meta, history. ARGV: its description, document, history length.
expect(KEYS[1], 'string')
local meta = read_meta(KEYS[3])
expect(KEYS[4], 'stream')
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end

redis.call('DEL', KEYS[1], KEYS[2])
record(KEYS[4], ARGV[3], meta, 'discarded', ARGV[2], now_ms())
return 1
