-- Makes a model current. KEYS: meta, history, the new model, mode, feedback, candidate, its artifact, then the models kept so
-- far.
-- The order of the checks is the rule of `registry::decide_publish`.
local fence, kind, name, value = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local parent_generation, parent_sha = tonumber(ARGV[5]), ARGV[6]
local lineage, generation, sha = ARGV[7], tonumber(ARGV[8]), ARGV[9]
local format, watermark, by_operator = tonumber(ARGV[10]), ARGV[11], ARGV[12] == '1'
local document, origin, channel = ARGV[13], ARGV[14], ARGV[15]
local history_max, distinct_max, kept_max = ARGV[16], tonumber(ARGV[17]), tonumber(ARGV[18])
local commands_max, number_max, artifact = tonumber(ARGV[19]), tonumber(ARGV[20]), ARGV[21]
local ends_learning, mode_origin = ARGV[22], ARGV[23]

local meta = read_meta(KEYS[1])
expect(KEYS[2], 'stream')
expect(KEYS[3], 'string')
local mode
if ends_learning ~= '' then
  expect(KEYS[5], 'stream')
  mode = mode_stamp(KEYS[4])
end
local passed = model_keys(8)
local current_generation = number(meta, 'generation')
local current_sha = meta.sha256 or ''

if fence < number(meta, 'published_fence') then return 'stale' end
if fence == number(meta, 'published_fence') and meta.lineage == lineage
  and current_generation == generation and current_sha == sha then return 'already' end
if parent_generation ~= current_generation or parent_sha ~= current_sha then return 'parent' end
if (meta.lineage and meta.lineage ~= lineage) or generation <= current_generation or generation > number_max then
  return 'identity'
end
if meta.pinned == '1' and not by_operator then return 'pinned' end
if format < number(meta, 'format') then return 'format' end

local now = now_ms()
local fields = {lineage = lineage, generation = int(generation), sha256 = sha, format = int(format)}
end_training(meta, fields, kind, name, value, fence, now, commands_max)
if after(watermark, meta.watermark) then fields.watermark = watermark end
if by_operator then fields.pinned = '0' end
local dropped
fields.kept, dropped = keep(meta, generation, sha, distinct_max, kept_max, passed)

redis.call('SET', KEYS[3], artifact)
redis.call('DEL', KEYS[6], KEYS[7])
write_fields(KEYS[1], meta, fields)
local ends = mode ~= nil and mode == ends_learning
if ends then set_mode(KEYS[4], KEYS[5], '0', mode_origin, now) end
record(KEYS[2], history_max, meta, 'published', document, now, ends)
for _, hash in ipairs(dropped) do redis.call('DEL', passed[hash]) end
announce(channel, 'model', meta, origin)
return 'published'
