-- Talks HTTP to the nauthilus-neural daemon through what Nauthilus offers to scripts. Lua 5.1.
--
-- Knows settings, tokens, time limits, JSON and error texts; knows nothing of logins and verdicts, and decides nothing.
-- No function raises an error because of the daemon: it answers nil and a message. A virtual machine is used again for
-- other requests, so this file keeps nothing between two calls.
--
-- Settings are variables in the environment of Nauthilus:
--   NAUTHILUS_NEURAL_URL               the daemon; http://127.0.0.1:9180 if unset
--   NAUTHILUS_NEURAL_TIMEOUT_MS        longest wait in a login, 1 to 150; 150 if unset
--   NAUTHILUS_NEURAL_TOKEN_FILE        file with the token for scores and outcomes; none on the daemon's own host
--   NAUTHILUS_NEURAL_ADMIN_TOKEN_FILE  file with the token for training, feedback and hooks; the one above if unset

local client = {}

-- A login never waits longer than this for the daemon.
client.LOGIN_MS = 140
-- An answer is some hundred bytes, the metrics of the attack hooks some ten thousand.
local ANSWER_MAX = 1048576
-- Longest text of the daemon that goes into messages and logs.
local DETAIL_MAX = 300

-- A module of Nauthilus, or nil and why not. `loader` is its name for dynamic_loader, which Nauthilus before 1.11 wants
-- to hear first; later ones have it as an empty function, or not at all. Modules such as nauthilus_context belong to one
-- request: ask each time, never keep them.
function client.module(name, loader)
    if package.loaded[name] == nil and dynamic_loader ~= nil then
        pcall(dynamic_loader, loader or name)
    end
    local ok, found = pcall(require, name)
    if ok and type(found) == "table" then
        return found
    end
    return nil, "this Nauthilus has no module " .. name
end

-- A setting; nil when it is unset or empty.
function client.setting(name)
    if os == nil or os.getenv == nil then
        return nil
    end
    local value = os.getenv("NAUTHILUS_NEURAL_" .. name)
    if value == "" then
        return nil
    end
    return value
end

-- How long a login may wait, in milliseconds.
function client.login_ms()
    local wanted = tonumber(client.setting("TIMEOUT_MS") or "")
    if wanted == nil or wanted ~= wanted or wanted < 1 or wanted > client.LOGIN_MS then
        return client.LOGIN_MS
    end
    return math.floor(wanted)
end

-- Length of the UTF-8 character that begins at `at`; nil when none does.
local function utf8_length(text, at)
    local first, second = string.byte(text, at, at + 1)
    if first < 128 then
        return 1
    end
    local length, lowest, highest
    if first >= 194 and first <= 223 then
        length, lowest, highest = 2, 128, 191
    elseif first >= 224 and first <= 239 then
        length, lowest, highest = 3, first == 224 and 160 or 128, first == 237 and 159 or 191
    elseif first >= 240 and first <= 244 then
        length, lowest, highest = 4, first == 240 and 144 or 128, first == 244 and 143 or 191
    else
        return nil
    end
    if second == nil or second < lowest or second > highest then
        return nil
    end
    for offset = 2, length - 1 do
        local byte = string.byte(text, at + offset)
        if byte == nil or byte < 128 or byte > 191 then
            return nil
        end
    end
    return length
end

-- `text` as the daemon takes it: valid UTF-8 without control characters, at most `longest` bytes. Whoever logs in chooses
-- the user agent; a daemon that refuses it would not score that login.
function client.clean(text, longest)
    text = string.gsub(string.sub(text, 1, longest), "[%c\127]", " ")
    if string.find(text, "[\128-\255]") == nil then
        return text
    end
    local parts, at = {}, 1
    while at <= #text do
        local length = utf8_length(text, at)
        if length == nil then
            parts[#parts + 1] = "?"
            at = at + 1
        else
            local character = string.sub(text, at, at + length - 1)
            -- U+0080 to U+009F are control characters as well.
            if string.find(character, "^\194[\128-\159]$") then
                character = " "
            end
            parts[#parts + 1] = character
            at = at + length
        end
    end
    return table.concat(parts)
end

-- `text` in percent-encoding, for a query.
function client.escape(text)
    return (string.gsub(text, "[^%w%-%._~]", function(character)
        return string.format("%%%02X", string.byte(character))
    end))
end

-- The token for a call; nil and a message when its file cannot be read, nil alone when there is none.
local function token(admin)
    local path = admin and client.setting("ADMIN_TOKEN_FILE") or client.setting("TOKEN_FILE")
    if path == nil then
        return nil
    end
    local file = io ~= nil and io.open(path, "r")
    if not file then
        return nil, "cannot read the token file " .. path
    end
    local text = file:read(4096)
    file:close()
    text = string.match(text or "", "^%s*(%S+)%s*$")
    if text == nil then
        return nil, "the token file " .. path .. " does not hold one token"
    end
    return text
end

-- What is wrong, from an answer that is not a success.
local function problem(status, answer)
    if type(answer) == "table" and type(answer.detail) == "string" and answer.detail ~= "" then
        return client.clean(answer.detail, DETAIL_MAX)
    end
    return "nauthilus-neural answered HTTP " .. tostring(status)
end

-- A value as JSON; nil and a message when it cannot be written.
function client.encode(value)
    local json, missing = client.module("json", "nauthilus_gll_json")
    if json == nil then
        return nil, missing
    end
    local ok, text, message = pcall(json.encode, value)
    if not ok or type(text) ~= "string" then
        return nil, "cannot write JSON: " .. client.clean(tostring(ok and message or text), DETAIL_MAX)
    end
    return text
end

-- A JSON object or array as a table; nil and a message for anything else.
function client.decode(text)
    local json, missing = client.module("json", "nauthilus_gll_json")
    if json == nil then
        return nil, missing
    end
    local ok, value = pcall(json.decode, text)
    if not ok or type(value) ~= "table" then
        return nil, "nauthilus-neural answered with something that is no JSON object"
    end
    return value
end

-- Sends one request and answers its JSON as a table; nil, a message and, if there was one, the HTTP status and the
-- table of the refusal otherwise. `call` has `method`, `path`, `body` (a table that is not empty, or nil), `timeout_ms`
-- and `admin` (true: with the administrator's token).
function client.send(call)
    local http, missing = client.module("glua_http", "nauthilus_gluahttp")
    if http == nil then
        return nil, missing
    end
    local headers = { ["Accept"] = "application/json", ["User-Agent"] = "nauthilus" }
    local secret, unreadable = token(call.admin)
    if unreadable ~= nil then
        return nil, unreadable
    end
    if secret ~= nil then
        headers["Authorization"] = "Bearer " .. secret
    end
    -- The time must be a text: the HTTP client cuts numbers to whole seconds.
    local options = { timeout = string.format("%dms", call.timeout_ms), headers = headers }
    if call.body ~= nil then
        local text, message = client.encode(call.body)
        if text == nil then
            return nil, message
        end
        headers["Content-Type"] = "application/json"
        options.body = text
    end
    local url = string.gsub(client.setting("URL") or "http://127.0.0.1:9180", "/+$", "") .. call.path

    local ok, response, message = pcall(http.request, call.method, url, options)
    if not ok or response == nil then
        local cause = client.clean(tostring(ok and message or response), DETAIL_MAX)
        return nil, "cannot reach nauthilus-neural: " .. cause
    end
    local status, text = response.status_code, response.body
    if type(status) ~= "number" or type(text) ~= "string" then
        return nil, "cannot reach nauthilus-neural: the HTTP client gave no answer"
    end
    if #text > ANSWER_MAX then
        return nil, "nauthilus-neural answered with more than " .. ANSWER_MAX .. " bytes", status
    end
    local answer, unusable = client.decode(text)
    if status < 200 or status > 299 then
        return nil, problem(status, answer), status, answer
    end
    if answer == nil then
        return nil, unusable, status
    end
    return answer
end

return client
