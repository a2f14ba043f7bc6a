-- What operators have ordered for single pairs. KEYS: overrides. ARGV: the revision that the caller knows ('' for none), most
-- orders. Returns nothing where that still stands, else fields and values in turn, the revision first.
expect(KEYS[1], 'hash')
local revision = redis.call('HGET', KEYS[1], 'revision') or ''
if revision == ARGV[1] then return {} end
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[2]) + 1 then foreign(KEYS[1]) end
local answer = {'revision', revision}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= 'revision' then
    answer[#answer + 1] = all[i]
    answer[#answer + 1] = all[i + 1]
  end
end
return answer
