-- Appends to the audit trail, unless the same entry is among the newest: its answer was lost then. KEYS: audit. ARGV: entry,
-- most entries, oldest age in ms, how many of the newest.
expect(KEYS[1], 'stream')
for _, newest in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[4])) do
  if newest[2][1] == 'j' and newest[2][2] == ARGV[1] then return 0 end
end
redis.call('XADD', KEYS[1], '*', 'j', ARGV[1])
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[2])
redis.call('XTRIM', KEYS[1], 'MINID', '~', int(math.max(now_ms() - tonumber(ARGV[3]), 0)))
return 1
