-- catalog/path_name: a symbol as the name of its folder, as warehouse/core/paths.py spells it.
--
-- Every byte outside A–Z 0–9 . _ - is percent-encoded, and so is the first character of a name
-- that Windows reserves or macOS takes for files of its own (._A), and a final dot.
create or replace macro percent_encode(text, always) as
    array_to_string(
        list_transform(
            string_split(text, ''),
            lambda letter: case
                when not always and regexp_full_match(letter, '[A-Z0-9._-]') then letter
                else regexp_replace(hex(encode(letter)), '(..)', '%\1', 'g')
            end
        ),
        ''
    );
create or replace macro path_name(symbol) as
    percent_encode(
        substr(symbol, 1, 1),
        symbol = '.'
        or regexp_full_match(
            symbol, '(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?|\._.*', 's'
        )
    )
    || case
        when length(symbol) > 1
        then
            percent_encode(substr(symbol, 2, length(symbol) - 2), false)
            || percent_encode(substr(symbol, -1), substr(symbol, -1) = '.')
        else ''
    end;
