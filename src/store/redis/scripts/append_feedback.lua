-- Records one feedback item under its id. KEYS: feedback, feedback ids. ARGV: id, bytes, most entries, oldest age in ms.
expect(KEYS[1], 'stream')
expect(KEYS[2], 'hash')

-- What is too old goes, together with its id, so that the ids live as long as the entries. At most 10 000 at once:
-- the rest goes with the next item.
local oldest = now_ms() - tonumber(ARGV[4])
for _ = 1, 10 do
  local old = redis.call('XRANGE', KEYS[1], '-', '(' .. int(math.max(oldest, 0)), 'COUNT', 1000)
  for _, entry in ipairs(old) do
    redis.call('XDEL', KEYS[1], entry[1])
    if entry[2][1] == 'i' then redis.call('HDEL', KEYS[2], entry[2][2]) end
  end
  if #old < 1000 then break end
end

local known = redis.call('HGET', KEYS[2], ARGV[1])
if known then return {'known', known} end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3]) then return {'full'} end
local position = redis.call('XADD', KEYS[1], '*', 'i', ARGV[1], 'f', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], position)
return {'recorded', position}
