-- Before a step that a person has asked for: the last argument is the end of the caller's patience, by this server's clock.
-- Who was told "unknown" must not see it done minutes later, when a frozen server or a paused one goes on.
local deadline = tonumber(table.remove(ARGV))
if not deadline then foreign('a deadline') end
if now_ms() > deadline then error({err = 'LATE it came after its deadline and changed nothing'}) end

