-- Appends to the audit trail. KEYS: audit. ARGV: entry, most entries, oldest age in ms.
expect(KEYS[1], 'stream')
redis.call('XADD', KEYS[1], '*', 'j', ARGV[1])
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[2])
redis.call('XTRIM', KEYS[1], 'MINID', '~', int(math.max(now_ms() - tonumber(ARGV[3]), 0)))
return 1
