-- Records that a training published nothing. KEYS: meta, history, candidate, its artifact. See `registry::decide_refusal`.
local fence, kind, name, value = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local considered, document, history_max, commands_max = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local note, artifact = ARGV[9], ARGV[10]

local meta = read_meta(KEYS[1])
expect(KEYS[2], 'stream')
if fence < number(meta, 'published_fence') then return 'stale' end
if fence == number(meta, 'published_fence') then return 'recorded' end

local now = now_ms()
local fields = {}
end_training(meta, fields, kind, name, value, fence, now, commands_max)
if after(considered, meta.considered) then fields.considered = considered end
write_fields(KEYS[1], meta, fields)
if note ~= '' then
  redis.call('SET', KEYS[3], note)
  redis.call('SET', KEYS[4], artifact)
end
record(KEYS[2], history_max, meta, 'refused', document, now)
return 'recorded'
