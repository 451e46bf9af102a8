-- Notes that a node lives, or has gone, and tells of all that do.
-- KEYS nodes
-- ARGV node ttl_ms forget_ms about ('' when it goes)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[4])
end
local all, found = redis.call('HGETALL', KEYS[1]), {}
for at = 1, #all, 2 do
  local seen = tonumber(string.match(all[at + 1], '^%d+'))
  if now - seen > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], all[at])
  else
    found[#found + 1] = all[at]
    found[#found + 1] = string.format('%.0f', now - seen)
    found[#found + 1] = string.match(all[at + 1], '^%d+ (.*)$')
  end
end
return found
