-- The registry and the time, in one look. KEYS: meta.
expect(KEYS[1], 'hash')
return {int(now_ms()), redis.call('HGETALL', KEYS[1])}
