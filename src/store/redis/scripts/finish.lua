-- Records the result of a command. KEYS: claim, result. ARGV: result, seconds it is kept.
expect(KEYS[1], 'string')
expect(KEYS[2], 'string')
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
redis.call('DEL', KEYS[1])
return 1
