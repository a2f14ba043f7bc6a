-- One artifact, or the list of additional features, unless it is larger than any of ours. KEYS: it. ARGV: most bytes.
expect(KEYS[1], 'string')
if redis.call('STRLEN', KEYS[1]) > tonumber(ARGV[1]) then foreign(KEYS[1] .. ' (too large)') end
return redis.call('GET', KEYS[1])
