-- Shared by every script: reading the registry, comparing positions, ending a training, announcing.
-- A script checks everything first and writes last: Redis runs it alone, but does not undo half of it.

local function foreign(name)
  error({err = 'FOREIGN ' .. name})
end

-- A key of another type would make a later write fail after earlier ones were done.
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then foreign(key .. ' (a ' .. found .. ')') end
end

local function int(number)
  return string.format('%.0f', number)
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function read_meta(key)
  expect(key, 'hash')
  local flat = redis.call('HGETALL', key)
  local meta = {}
  for i = 1, #flat, 2 do meta[flat[i]] = flat[i + 1] end
  return meta
end

local function number(meta, field)
  return tonumber(meta[field] or '0') or foreign(field)
end

local function split(position)
  local major, minor = string.match(position or '0-0', '^(%d+)%-(%d+)$')
  if not major then foreign('a position') end
  return tonumber(major), tonumber(minor)
end

-- Whether position a lies after position b.
local function after(a, b)
  local a1, a2 = split(a)
  local b1, b2 = split(b)
  return a1 > b1 or (a1 == b1 and a2 > b2)
end

local function served(meta, kind, name, value)
  if kind == 'schedule' then
    local last = meta['slot:' .. name]
    return last and tonumber(value) <= tonumber(last)
  elseif kind == 'feedback' then
    return not (after(value, meta.watermark) and after(value, meta.considered))
  end
  return string.find(',' .. (meta.commands or '') .. ',', ',' .. name .. ',', 1, true) ~= nil
end

-- The fields that the end of a training sets, whatever its outcome.
local function end_training(meta, fields, kind, name, value, fence, now, commands_max)
  fields.published_fence = int(fence)
  fields.fence = int(math.max(number(meta, 'fence'), fence))
  fields.trained_at_ms = int(now)
  if kind == 'schedule' then
    local last = tonumber(meta['slot:' .. name] or value)
    fields['slot:' .. name] = int(math.max(last, tonumber(value)))
  elseif kind == 'feedback' then
    fields.feedback_trained_at_ms = int(now)
  else
    local list = {name}
    for known in string.gmatch(meta.commands or '', '[^,]+') do
      if known ~= name and #list < commands_max then list[#list + 1] = known end
    end
    fields.commands = table.concat(list, ',')
  end
end

-- The kept generations, newest first, as {generation, sha} pairs.
local function read_kept(meta)
  local kept = {}
  for generation, sha in string.gmatch(meta.kept or '', '(%d+):(%x+)') do
    kept[#kept + 1] = {tonumber(generation), sha}
  end
  return kept
end

-- Puts a generation in front; returns the new list and the hashes that fell off. A hash whose key the caller did not
-- pass (`passed`) stays at the end until the next time: a script must not touch keys that it was not given.
local function keep(meta, generation, sha, distinct_max, kept_max, passed)
  local before = read_kept(meta)
  table.insert(before, 1, {generation, sha})
  local list, left, distinct, count, dropped, seen = {}, {}, {}, 0, {}, {}
  for place, entry in ipairs(before) do
    local hash = entry[2]
    local text = int(entry[1]) .. ':' .. hash
    if place <= kept_max and (distinct[hash] or count < distinct_max) then
      if not distinct[hash] then
        distinct[hash] = true
        count = count + 1
      end
      list[#list + 1] = text
    elseif not distinct[hash] then
      if not passed[hash] then
        left[#left + 1] = text
      elseif not seen[hash] then
        seen[hash] = true
        dropped[#dropped + 1] = hash
      end
    end
  end
  for _, text in ipairs(left) do list[#list + 1] = text end
  return table.concat(list, ','), dropped
end

-- Hash -> key for the model keys from KEYS[first] on.
local function model_keys(first)
  local passed = {}
  for i = first, #KEYS do
    passed[string.match(KEYS[i], '%x+$')] = KEYS[i]
    expect(KEYS[i], 'string')
  end
  return passed
end

local function write_fields(key, meta, fields)
  for field, value in pairs(fields) do
    redis.call('HSET', key, field, value)
    meta[field] = value
  end
end

local function record(key, max, meta, outcome, document, now, ended_learning)
  redis.call('XADD', key, 'MAXLEN', '~', max, '*',
    'outcome', outcome, 'lineage', meta.lineage or '', 'generation', meta.generation or '0',
    'sha256', meta.sha256 or '', 'at_ms', int(now), 'j', document, 'ended_learning', ended_learning and '1' or '0')
end

-- What names the present setting of learning mode: its flag, and its time if it has one. See `store::mode`.
local function mode_stamp(key)
  expect(key, 'string')
  local mode = redis.call('GET', key)
  if not mode then return 'never' end
  return string.match(mode, '^[01] %-?%d+') or mode
end

-- Sets learning mode; `origin` is JSON. Notes the last feedback that has arrived. Returns what stands there now.
local function set_mode(key, feedback, flag, origin, now)
  local last = redis.call('XREVRANGE', feedback, '+', '-', 'COUNT', 1)
  local position = last[1] and last[1][1] or '0-0'
  local mode = flag .. ' ' .. int(now) .. ' ' .. position .. ' ' .. origin
  redis.call('SET', key, mode)
  return mode
end

local function quoted(hex)
  if not hex or hex == '' then return 'null' end
  return '"' .. hex .. '"'
end

-- `origin` is a name without characters that JSON would escape.
local function announce(channel, kind, meta, origin)
  redis.call('PUBLISH', channel, '{"v":1,"kind":"' .. kind .. '","lineage":' .. quoted(meta.lineage) ..
    ',"generation":' .. (meta.generation or '0') .. ',"sha256":' .. quoted(meta.sha256) ..
    ',"origin":"' .. origin .. '"}')
end

