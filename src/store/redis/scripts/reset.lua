-- Leaves the fleet without a model. KEYS: meta, history. ARGV: lineage if there is none, document, origin, channel,
-- history length.
local meta = read_meta(KEYS[1])
expect(KEYS[2], 'stream')

local fields = {
  lineage = meta.lineage or ARGV[1],
  generation = int(number(meta, 'generation') + 1),
  sha256 = '',
  pinned = '0',
}
write_fields(KEYS[1], meta, fields)
record(KEYS[2], ARGV[5], meta, 'reset', ARGV[2], now_ms())
announce(ARGV[4], 'reset', meta, ARGV[3])
return {meta.lineage, meta.generation}
