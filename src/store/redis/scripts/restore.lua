-- Puts a lost model back. KEYS: meta, history, the model, then the models kept so far. See `registry::decide_restore`.
local lineage, generation, sha = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local document, origin, channel, history_max = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local distinct_max, kept_max, number_max, artifact = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11]

local meta = read_meta(KEYS[1])
expect(KEYS[2], 'stream')
local passed = model_keys(3)
local empty = not meta.lineage and generation > 0 and generation <= number_max
local current = meta.lineage == lineage and number(meta, 'generation') == generation and meta.sha256 == sha
if not (empty or (current and redis.call('EXISTS', KEYS[3]) == 0)) then return 0 end

local fields = {lineage = lineage, generation = int(generation), sha256 = sha}
local known = false
for _, entry in ipairs(read_kept(meta)) do known = known or entry[2] == sha end
local dropped = {}
if not known then fields.kept, dropped = keep(meta, generation, sha, distinct_max, kept_max, passed) end

redis.call('SET', KEYS[3], artifact)
write_fields(KEYS[1], meta, fields)
record(KEYS[2], history_max, meta, 'restored', document, now_ms())
for _, hash in ipairs(dropped) do redis.call('DEL', passed[hash]) end
announce(channel, 'model', meta, origin)
return 1
