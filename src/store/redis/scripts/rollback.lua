-- Makes kept content current again and pins it. KEYS: meta, history, then the models kept.
-- ARGV: generation or '', document, origin, channel, history length, distinct models, list length.
-- Answers 'retry' when the target is not among the keys that the caller passed.
local meta = read_meta(KEYS[1])
expect(KEYS[2], 'stream')
local passed = model_keys(3)
local kept = read_kept(meta)

local target
if ARGV[1] ~= '' then
  for _, entry in ipairs(kept) do
    if entry[1] == tonumber(ARGV[1]) then target = entry break end
  end
else
  local first = math.huge
  for _, entry in ipairs(kept) do
    if entry[2] == meta.sha256 then first = math.min(first, entry[1]) end
  end
  for _, entry in ipairs(kept) do
    if entry[1] < first then target = entry break end
  end
end
if not target or not meta.lineage then return {'notfound'} end
local key = passed[target[2]]
if not key then return {'retry'} end
if redis.call('EXISTS', key) == 0 then return {'notfound'} end

local generation = number(meta, 'generation') + 1
local fields = {generation = int(generation), sha256 = target[2], pinned = '1'}
local dropped
fields.kept, dropped = keep(meta, generation, target[2], tonumber(ARGV[6]), tonumber(ARGV[7]), passed)
write_fields(KEYS[1], meta, fields)
record(KEYS[2], ARGV[5], meta, 'rolled_back', ARGV[2], now_ms())
for _, hash in ipairs(dropped) do redis.call('DEL', passed[hash]) end
announce(ARGV[4], 'model', meta, ARGV[3])
return {'done', meta.lineage, meta.generation, meta.sha256}
