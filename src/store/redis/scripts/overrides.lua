-- Changes what operators have ordered for single pairs. KEYS: overrides, meta. ARGV: put, remove, prune or restore; the new
-- revision, origin, channel, most orders; then an id and, where one is stored, its document, in turn. A document is the end
-- of the order (ms), a space and JSON. Returns how many were added or taken away, -1 if there is no room.
expect(KEYS[1], 'hash')
local meta = read_meta(KEYS[2])
local step, max = ARGV[1], tonumber(ARGV[5])

-- The ids of what has ended, and of what is none of ours.
local function ended()
  local all, ids, now = redis.call('HGETALL', KEYS[1]), {}, now_ms()
  for i = 1, #all, 2 do
    local ends = tonumber(string.match(all[i + 1], '^(%d+) ') or '0')
    if all[i] ~= 'revision' and ends <= now then ids[#ids + 1] = all[i] end
  end
  return ids
end

local function forget(ids)
  for _, id in ipairs(ids) do redis.call('HDEL', KEYS[1], id) end
  return #ids
end

local changed = 0
if step == 'put' then
  local held = redis.call('HLEN', KEYS[1]) - (redis.call('HGET', KEYS[1], 'revision') and 1 or 0)
  if not redis.call('HGET', KEYS[1], ARGV[6]) and held >= max then
    local ids = ended()
    if held - #ids >= max then return -1 end
    forget(ids)
  end
  redis.call('HSET', KEYS[1], ARGV[6], ARGV[7])
  changed = 1
elseif step == 'remove' then
  changed = redis.call('HDEL', KEYS[1], ARGV[6])
elseif step == 'prune' then
  changed = forget(ended())
elseif redis.call('EXISTS', KEYS[1]) == 0 then
  for i = 6, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
  changed = (#ARGV - 5) / 2
end

if changed > 0 then
  redis.call('HSET', KEYS[1], 'revision', ARGV[2])
  if step ~= 'prune' then announce(ARGV[4], 'overrides', meta, ARGV[3]) end
end
return changed
