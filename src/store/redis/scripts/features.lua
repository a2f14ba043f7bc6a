-- Exchanges the list of additional features. KEYS: features, meta, history. ARGV: the list before ('' for none), the list
-- after, origin, channel, document of a reset ('' for none), lineage if there is none, history length.
expect(KEYS[1], 'string')
local meta = read_meta(KEYS[2])
expect(KEYS[3], 'stream')
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 'conflict' end

if ARGV[5] ~= '' then
  local fields = {
    lineage = meta.lineage or ARGV[6],
    generation = int(number(meta, 'generation') + 1),
    sha256 = '',
    pinned = '0',
  }
  write_fields(KEYS[2], meta, fields)
  record(KEYS[3], ARGV[7], meta, 'reset', ARGV[5], now_ms())
end
redis.call('SET', KEYS[1], ARGV[2])
announce(ARGV[4], 'features', meta, ARGV[3])
return 'changed'
