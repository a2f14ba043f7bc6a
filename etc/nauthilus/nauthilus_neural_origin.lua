-- Where a login comes from: the client's address behind a proxy, its country and the part of that. Lua 5.1.
--
-- Reads a header only if it was named, and hands on only what the daemon takes; whether a forwarded address is believed, the
-- daemon decides (lists.trusted_networks). No function raises an error, looks anything up, or keeps anything between two
-- calls.
--
-- Settings are variables in the environment of Nauthilus:
--   NAUTHILUS_NEURAL_FORWARDED_HEADER  header of the request to Nauthilus with the client's address; not read if unset
--   NAUTHILUS_NEURAL_FORWARDED_HOPS    which address of it counts, from the right, 1 to 16; 1 if unset

local client = require("nauthilus_neural_client")

local origin = {}

-- Where the address waits for the post action, which may not have the headers any more.
local FORWARDED_KEY = "nauthilus_neural_forwarded_ip"
-- Where a script of the site says in which part of its country a client is, or in which country and part.
local REGION_KEY = "nauthilus_neural_region"
-- Longest header that is read, all its lines together; 16 addresses with ports take less.
local HEADER_MAX = 1024
local HOPS_MAX = 16

-- The four bytes of an IPv4 address; nil for anything else. Leading zeros are refused: some read them as octal.
local function v4_bytes(text)
    local bytes = { string.match(text, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$") }
    if #bytes ~= 4 then
        return nil
    end
    for place, digits in ipairs(bytes) do
        if #digits > 3 or (#digits > 1 and string.sub(digits, 1, 1) == "0") or tonumber(digits) > 255 then
            return nil
        end
        bytes[place] = tonumber(digits)
    end
    return bytes
end

-- Adds the groups of one side of "::" to `groups`; whether all of them are sound. An IPv4 address may stand at the end.
local function add_groups(groups, text, ends)
    if text == "" then
        return true
    end
    local parts = {}
    for part in string.gmatch(text .. ":", "([^:]*):") do
        parts[#parts + 1] = part
    end
    for place, part in ipairs(parts) do
        if string.find(part, "^%x%x?%x?%x?$") then
            groups[#groups + 1] = tonumber(part, 16)
        else
            local bytes = ends and place == #parts and v4_bytes(part) or nil
            if bytes == nil then
                return false
            end
            groups[#groups + 1] = bytes[1] * 256 + bytes[2]
            groups[#groups + 1] = bytes[3] * 256 + bytes[4]
        end
    end
    return true
end

-- The eight groups of an IPv6 address; nil for anything else.
local function v6_groups(text)
    local head, tail = text, nil
    local at = string.find(text, "::", 1, true)
    if at ~= nil then
        head, tail = string.sub(text, 1, at - 1), string.sub(text, at + 2)
    end
    local front, back = {}, {}
    if not add_groups(front, head, tail == nil) or (tail ~= nil and not add_groups(back, tail, true)) then
        return nil
    end
    local missing = 8 - #front - #back
    if (tail == nil and missing ~= 0) or (tail ~= nil and missing < 1) then
        return nil
    end
    for _ = 1, missing do
        front[#front + 1] = 0
    end
    for _, group in ipairs(back) do
        front[#front + 1] = group
    end
    return front
end

-- Whether an IPv4 address may be a client's: neither "none" nor a group of hosts.
local function v4_of_a_client(first, second, third, fourth)
    return first + second + third + fourth > 0 and (first < 224 or first > 239)
end

-- Whether the groups of an IPv6 address may be a client's.
local function v6_of_a_client(groups)
    local upper = groups[1] + groups[2] + groups[3] + groups[4] + groups[5]
    if upper == 0 and groups[6] == 65535 then
        local high, low = groups[7], groups[8]
        return v4_of_a_client(math.floor(high / 256), high % 256, math.floor(low / 256), low % 256)
    end
    return upper + groups[6] + groups[7] + groups[8] > 0 and groups[1] < 65280
end

-- `text` if it is the address of one client, as the daemon takes it: IPv4 or IPv6, without zone; a port behind it, and
-- brackets around an IPv6 address, are taken away. nil for anything else.
function origin.address(text)
    if type(text) ~= "string" or #text > 64 then
        return nil
    end
    text = string.match(text, "^%s*(.-)%s*$")
    local bracketed, rest = string.match(text, "^%[([%x:%.]+)%](.*)$")
    if bracketed ~= nil then
        if rest ~= "" and string.find(rest, "^:%d%d?%d?%d?%d?$") == nil then
            return nil
        end
        text = bracketed
    else
        text = string.match(text, "^(%d+%.%d+%.%d+%.%d+):%d%d?%d?%d?%d?$") or text
        local bytes = v4_bytes(text)
        if bytes ~= nil then
            return v4_of_a_client(bytes[1], bytes[2], bytes[3], bytes[4]) and text or nil
        end
    end
    local groups = v6_groups(text)
    return groups ~= nil and v6_of_a_client(groups) and string.lower(text) or nil
end

-- The values of a header of the request to Nauthilus, in their order, as one list with commas; nil when there is none.
local function header(name)
    local http = client.module("nauthilus_http_request")
    if http == nil or http.get_http_request_header == nil then
        return nil
    end
    local ok, values = pcall(http.get_http_request_header, name)
    if not ok or type(values) ~= "table" then
        return nil
    end
    local lines, length = {}, 0
    for _, line in ipairs(values) do
        if type(line) ~= "string" then
            return nil
        end
        length = length + #line + 1
        if length > HEADER_MAX then
            return nil
        end
        lines[#lines + 1] = line
    end
    return lines[1] ~= nil and table.concat(lines, ",") or nil
end

-- Which address of the header counts, from the right; nil when the setting cannot be used.
local function hops()
    local setting = client.setting("FORWARDED_HOPS")
    local wanted = tonumber(setting or "1")
    if wanted == nil or wanted ~= math.floor(wanted) or wanted < 1 or wanted > HOPS_MAX then
        return nil
    end
    return wanted
end

-- The address that the header names, whoever wrote it. Each proxy adds on the right whom it has heard, and what stands
-- further left than the site's own proxies reach, the client may have made up: so the one that counts is told by its place
-- from the right. When that is no address, or there are fewer, none is taken, rather than another one.
local function named()
    local name = client.setting("FORWARDED_HEADER")
    if name == nil or #name > 64 or string.find(name, "^[%w%-_]+$") == nil then
        return nil
    end
    local value, place = header(name), hops()
    if value == nil or place == nil then
        return nil
    end
    local entries = {}
    for entry in string.gmatch(value .. ",", "([^,]*),") do
        entries[#entries + 1] = entry
    end
    return origin.address(entries[#entries - place + 1])
end

-- The client's address behind the proxy `client_ip`; nil when nobody says, or it is the same. What was found before the
-- password was checked holds afterwards too.
function origin.forwarded(client_ip, context)
    if client.setting("FORWARDED_HEADER") == nil then
        return nil
    end
    local known = context ~= nil and context.context_get(FORWARDED_KEY) or nil
    local address = origin.address(known)
    if address == nil then
        address = named()
        if address ~= nil and context ~= nil then
            context.context_set(FORWARDED_KEY, address)
        end
    end
    if address == nil or address == origin.address(client_ip) then
        return nil
    end
    return address
end

-- Two letters in capitals; nil for anything else.
local function country_code(text)
    if type(text) == "string" and string.find(text, "^%a%a$") then
        return string.upper(text)
    end
    return nil
end

-- A field of a table that may be none.
local function field(value, name)
    if type(value) == "table" then
        return value[name]
    end
    return nil
end

-- What the geoip scripts of Nauthilus know of `client_ip`.
local function looked_up(context)
    if context == nil then
        return nil
    end
    local seen = context.context_get("geoippolicyd_iso_codes_seen")
    -- More than one code is the account's past, not this client.
    if type(seen) == "table" and seen[2] == nil and country_code(seen[1]) ~= nil then
        return country_code(seen[1])
    end
    local info = field(context.context_get("rt"), "geoip_info")
    local current = country_code(field(info, "current_country_code"))
    return current or country_code(field(context.context_get("plugin.environment.geoip"), "country_iso"))
end

-- The country of the client in two letters, and the part of it (ISO 3166-2: `BY`, or `DE-BY`); nil for what nobody knows. A
-- script of the site knows best; what Nauthilus has looked up is about `client_ip`, so it tells nothing of a client behind
-- that (`forwarded`).
function origin.place(features, context, forwarded)
    local country = country_code(features.country_code)
    if country == nil and forwarded == nil then
        country = looked_up(context)
    end
    local region = features.region
    if type(region) ~= "string" and context ~= nil then
        region = context.context_get(REGION_KEY)
    end
    if type(region) ~= "string" then
        return country
    end
    if string.find(region, "^%w%w?%w?$") or string.find(region, "^%a%a%-%w%w?%w?$") then
        return country, string.upper(region)
    end
    return country
end

return origin
