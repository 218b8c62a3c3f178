-- What pandoc does not do by itself, for the story and for executed notebooks alike: figures and
-- tables are numbered and can be referred to as in Quarto (@fig-routes, @tbl-rewards), code is
-- folded, pictures are embedded, and nothing gets through that a page would run or fetch.

local count, labels, unnamed = {Figure = 0, Table = 0}, {}, 0

local function numbered(id, blocks)
  local kind = id:match("^fig%-") and "Figure" or id:match("^tbl%-") and "Table"
  if not kind then return end
  count[kind] = count[kind] + 1
  labels[id] = kind .. "\u{a0}" .. count[kind]
  if #blocks == 0 then blocks:insert(pandoc.Plain {}) end
  local label = pandoc.Strong {kind .. " " .. count[kind] .. "."}
  blocks[1].content = pandoc.Inlines {label, pandoc.Space()} .. blocks[1].content
end

-- A picture as the SVGs that `figures.save` left beside it, for a wide page and for a phone: files of
-- ours, and the only markup that enters a page as it is. Without them it stays what it was.
local function drawn(blocks, name)
  local function draw(image)
    local alt = image.attributes.alt:gsub("&", "&amp;"):gsub('"', "&quot;")
    local html = '<span class="drawing">'
    for _, kind in ipairs {"wide", "narrow"} do
      local file = name .. (kind == "wide" and ".svg" or ".narrow.svg")
      local ok, _, svg = pcall(pandoc.mediabag.fetch, file)
      if not ok or not svg then return end
      html = html .. '<svg class="' .. kind .. '" role="img" aria-label="' .. alt .. '"' .. svg:sub(5)
    end
    return pandoc.RawInline("html", html .. "</span>")
  end
  return pandoc.Blocks(blocks):walk {Image = draw}
end

-- A picture and its caption, or a note that there is none.
local function illustration(div)
  if div.classes:includes("absent") then
    numbered(div.identifier, div.content)
    return div
  end
  local picture = pandoc.Plain(div.content:remove(1).content)
  numbered(div.identifier, div.content)
  return pandoc.Figure(drawn({picture}, div.identifier:sub(5)), div.content, div.attr)
end

-- A region of its own that scrolls, and can be reached by keyboard, on a narrow screen.
local function scrolling(table)
  unnamed = unnamed + 1
  local named = pandoc.utils.stringify(table.caption.long)
  return pandoc.Div(table, pandoc.Attr("", {"table"}, {
    {"tabindex", "0"}, {"role", "region"},
    {"aria-label", named ~= "" and named or "Table " .. unnamed},
  }))
end

local function folded(content, class, title)
  return {
    pandoc.RawBlock("html", '<details class="' .. class .. '"><summary>'),
    pandoc.Plain(title),
    pandoc.RawBlock("html", "</summary>"), content, pandoc.RawBlock("html", "</details>"),
  }
end

local function folded_code(code, title)
  local label = pandoc.Inlines {pandoc.Span("Code", {class = "label"}), pandoc.Space()}
  return folded(code, "code", label .. title)
end

-- What a cell is called: its first comment, or what it defines and that one's docstring.
local function title(code)
  local text = code.text:gsub("^%s+", "")
  local comment = text:match("^#%s*([^\n]*)")
  if text:match("^import ") or text:match("^from ") then comment = "Imports" end
  if comment then return pandoc.Inlines {pandoc.Str(comment)} end
  local defined = text:gsub("^@[^\n]*\n", "")
  local name = defined:match("^def ([%w_]+)") or defined:match("^class ([%w_]+)")
  if not name then return pandoc.Inlines {pandoc.Code(text:match("[^\n]*"))} end
  local words = defined:match('^[^\n]*:%s*"""([^\n"]*)')
  local said = words and pandoc.Str(": " .. words:gsub("%.$", "")) or pandoc.Str("")
  return pandoc.Inlines {pandoc.Code(name), said}
end

-- A log without its progress bars.
local function without_bars(div)
  local log, kept = div.content[1], {}
  for line in log.text:gmatch("[^\r\n]+") do
    if not line:match("%d%%|") and not line:match("%d+it %[") then table.insert(kept, line) end
  end
  log.text = table.concat(kept, "\n")
  return #kept > 0 and div or {}
end

-- What is left of an element's attributes. Values of the story are Markdown, outputs of cells are
-- HTML, and neither may bring an event handler or a style.
local harmless = {title = true, alt = true, width = true, from = true, tags = true}

local function bare(element)
  for name in pairs(element.attributes) do
    if not harmless[name] then element.attributes[name] = nil end
  end
  return element
end

-- A number of the story links to its origin, unless it stands in a link already.
local function to_origin(span)
  if not span.classes:includes("num") or not span.attributes.href then return end
  local attributes = {class = table.concat(span.classes, " "), title = span.attributes.title}
  return pandoc.Link(span.content, span.attributes.href, "", attributes)
end

-- How pandas writes that there is no value.
local missing = {NaN = true, None = true, ["<NA>"] = true, nan = true, NaT = true}

local function bare_table(t)
  local parts = pandoc.List {t.head.rows, t.foot.rows}
  for _, body in ipairs(t.bodies) do parts:extend {body.head, body.body} end
  for _, rows in ipairs(parts) do
    for _, row in ipairs(rows) do
      bare(row)
      for _, cell in ipairs(row.cells) do
        bare(cell)
        if missing[pandoc.utils.stringify(cell.contents)] then
          cell.contents = {pandoc.Plain {pandoc.Str("–")}}
        end
      end
    end
  end
  for _, row in ipairs(t.head.rows) do  -- pandas leaves the index without a name
    for _, cell in ipairs(row.cells) do
      if #cell.contents == 0 then
        cell.contents = {pandoc.Plain {pandoc.Span("row", {class = "unseen"})}}
      end
    end
  end
  return bare(t)
end

-- Of an output that can be shown in several ways, the best that needs no kernel, as a widget does.
local function best(div)
  if div.classes:includes("stderr") then return without_bars(div) end
  if not div.classes:includes("display_data") and not div.classes:includes("execute_result") then
    return
  end
  local has_widget, found = false, {}
  for _, block in ipairs(div.content) do
    local is_widget = block.t == "CodeBlock" and block.classes:includes("json")
    has_widget = has_widget or is_widget
    if not is_widget then found[block.t] = found[block.t] or block end
  end
  return pandoc.Div(found.RawBlock or found.Para or not has_widget and found.CodeBlock or {},
                    div.attr)
end

-- HTML and Markdown from an output, as far as pandoc understands it: neither scripts nor frames.
local function understood(raw)
  -- The reader would fetch what a frame names; the empty list of files keeps it from all others.
  local text = raw.text:gsub("</?[iI][fF][rR][aA][mM][eE][^>]*>", "")
  return pandoc.read(text, raw.format, nil, {}).blocks:walk {
    RawBlock = function() return {} end, RawInline = function() return {} end,
  }
end

local function embedded(image)
  if not image.src:match("^data:image/") then
    local ok, kind, content = false, nil, nil
    if not image.src:match("^%a[%w+.-]*:") then
      ok, kind, content = pcall(pandoc.mediabag.fetch, image.src)
    end
    if not ok or not content then
      return pandoc.Span("[picture " .. image.src .. " is not here]", {class = "missing"})
    end
    image.src = pandoc.mediabag.make_data_uri(kind, content)
  end
  local alt = image.attributes.alt or pandoc.utils.stringify(image.caption)
  image.attributes = {alt = alt ~= "" and alt or "Output of the cell above",
                      width = image.attributes.width}
  return image
end

-- The parameters that a notebook begins with are replaced in a run, which the page names itself.
local function hidden(tags) return tags:match('"hide"') or tags:match('parameters"') end

local function cell(div)
  if not div.classes:includes("code") then return div.content end
  local shown = pandoc.Blocks {}
  for position, block in ipairs(div.content) do
    if position > 1 then
      shown:insert(block)
    elseif block.text:match("%S") and not hidden(div.attributes.tags or "") then
      shown:extend(folded_code(block, title(block)))
    end
  end
  return pandoc.Div(shown, {class = "cell"})
end

return {
  {Div = best},
  {RawBlock = understood, RawInline = function() return {} end},
  {traverse = "topdown", Span = to_origin, Link = function(link) return link, false end},
  {
    CodeBlock = function(code)
      code.text = code.text:gsub("\27%[[%d;]*%a", "")  -- a terminal's colours
      return bare(code)
    end,
    Span = bare, Code = bare, Link = bare, Header = bare, Div = bare,
    Figure = bare, Table = bare_table,
  },
  {
    Image = embedded,
    Link = function(link)
      if link.target:match("^%a[%w+.-]*:") and not link.target:match("^https?:") then
        return link.content
      end
    end,
    Header = function(header)
      header.content:insert(pandoc.Link("#", "#" .. header.identifier, "",
        {class = "anchor", ["aria-label"] = "Link to this section"}))
      return header
    end,
    Table = function(table)
      numbered(table.identifier, table.caption.long)
      return scrolling(table)
    end,
    Figure = function(figure)  -- of a notebook
      local name = figure.identifier:match("^figure%-([%w_-]+)$")
      if name then figure.content = drawn(figure.content, name) end
      return figure
    end,
    Div = function(div)
      if div.identifier:match("^fig%-") then return illustration(div) end
      if div.classes:includes("cell") then return cell(div) end
      if div.classes:includes("fold") then
        local title = div.attributes.title
        if title then
          div.attributes.title = nil
          return folded(div, "more", {pandoc.Str(title)})
        end
        return folded_code(div, pandoc.Inlines {pandoc.Str("from " .. div.attributes.from)})
      end
      return div
    end,
  },
  {
    Cite = function(cite)
      local id = cite.citations[1].id
      if labels[id] then return pandoc.Link(labels[id], "#" .. id) end
      if id:match("^fig%-") or id:match("^tbl%-") then
        pandoc.log.warn("The story refers to " .. id .. ", which it does not show.")
      end
    end,
  },
}
