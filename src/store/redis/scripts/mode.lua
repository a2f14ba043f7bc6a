-- Switches learning mode for the fleet. KEYS: mode, meta, feedback, history. ARGV: 0 or 1, its origin (JSON), the stamp of the
-- setting that it replaces ('' for any), origin of the announcement, channel, document for the history ('' for none), history
-- length. Returns what stands there now, or '' when another setting stands there.
local meta = read_meta(KEYS[2])
expect(KEYS[3], 'stream')
expect(KEYS[4], 'stream')
local stamp = mode_stamp(KEYS[1])
if ARGV[3] ~= '' and stamp ~= ARGV[3] then return '' end

local now = now_ms()
local mode = set_mode(KEYS[1], KEYS[3], ARGV[1], ARGV[2], now)
if ARGV[6] ~= '' then record(KEYS[4], ARGV[7], meta, 'learning_mode', ARGV[6], now) end
announce(ARGV[5], 'mode', meta, ARGV[4])
return mode
