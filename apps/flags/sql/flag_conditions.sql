-- Whether a context meets a document of conditions: the same answer as apps.flags.conditions gives,
-- to any jsonb whatever; docs/flags.md says which. Nothing here raises: what is refused when a
-- document is saved is false where it stands, and an unknown operator makes all of it false.
--
-- value is what an attribute is, JSON's null where it is missing; subject the object whose
-- attributes a document names; context the whole, which segments see. depth counts documents and
-- operators in each other, ten at most, nesting segments, five: so a circle ends.
--
-- Segments are read with the caller's rights, which the runtime role has none of: for that one
-- evaluate_flag() asks.

-- The operators that stand below an attribute.
create function public.flag_operators() returns text[]
language sql immutable parallel safe
return '{
    $eq,$ne,$lt,$lte,$gt,$gte,$in,$nin,$ini,$nini,$all,$alli,$size,$elemMatch,$exists,$type,
    $regex,$regexi,$inGroup,$notInGroup,$veq,$vne,$vlt,$vlte,$vgt,$vgte,$not
}'::text[];

-- Whether what stands for an attribute is operators.
create function public.flag_are_operators(operand jsonb) returns boolean
language sql immutable parallel safe
return jsonb_typeof(operand) = 'object'
    and operand <> '{}'
    and operand - public.flag_operators() = '{}';

-- A text with its ASCII letters small.
create function public.flag_folded(written text) returns text
language sql immutable strict parallel safe
return translate(written, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz');

-- A text folded; a list with its texts folded; anything else as it is.
create function public.flag_folded_value(value jsonb) returns jsonb
language plpgsql immutable strict parallel safe
as $$
begin
    if jsonb_typeof(value) = 'string' then
        return to_jsonb(public.flag_folded(value #>> '{}'));
    elsif jsonb_typeof(value) = 'array' and value <> '[]' then
        return (
            select jsonb_agg(
                case jsonb_typeof(e.item)
                    when 'string' then to_jsonb(public.flag_folded(e.item #>> '{}'))
                    else e.item
                end
            )
            from jsonb_array_elements(value) as e (item)
        );
    end if;
    return value;
end
$$;

-- $lt and its kin: number with number, text with text by code points, anything else false.
create function public.flag_comparison_holds(value jsonb, operator text, operand jsonb)
returns boolean
language plpgsql immutable strict parallel safe
as $$
declare
    kind text := jsonb_typeof(operand);
    one text collate "C";
    other text collate "C";
    sign integer;
begin
    if kind <> jsonb_typeof(value) then
        return false;
    elsif kind = 'number' then
        sign := case when value < operand then -1 when value > operand then 1 else 0 end;
    elsif kind = 'string' then
        one := value #>> '{}';
        other := operand #>> '{}';
        sign := case when one < other then -1 when one > other then 1 else 0 end;
    else
        return false;
    end if;
    return case operator
        when '$lt' then sign < 0 when '$lte' then sign <= 0
        when '$gt' then sign > 0 else sign >= 0
    end;
end
$$;

-- A number as it is written without needless zeros, null for anything else.
create function public.flag_number_text(value jsonb) returns text
language sql immutable parallel safe
return case jsonb_typeof(value) when 'number' then trim_scale(value::numeric)::text end;

-- A version as a text that orders as versions do under collate "C", null for what is none.
create function public.flag_version_key(value jsonb) returns text
language plpgsql immutable strict parallel safe
as $$
declare
    written text := coalesce(public.flag_number_text(value), value #>> '{}');
    parts text[];
    part text;
    key text;
begin
    if jsonb_typeof(value) not in ('string', 'number') or length(written) > 100 then
        return null;
    end if;
    if written ^@ 'v' then
        written := substr(written, 2);
    end if;
    parts := string_to_array(replace(split_part(written, '+', 1), '-', '.'), '.');
    if array_length(parts, 1) = 3 then
        parts := parts || '~'::text;
    end if;
    foreach part in array parts loop
        if length(part) < 5 and part ~ '^[0-9]+$' then
            part := lpad(part, 5);
        end if;
        key := coalesce(key || '-' || part, part);
    end loop;
    return coalesce(key, '');
end
$$;

create function public.flag_version_holds(value jsonb, operator text, operand jsonb)
returns boolean
language plpgsql immutable strict parallel safe
as $$
declare
    one text collate "C" := public.flag_version_key(value);
    other text collate "C" := public.flag_version_key(operand);
begin
    if one is null or other is null then
        return operator = '$vne';
    end if;
    return case operator
        when '$veq' then one = other when '$vne' then one <> other
        when '$vlt' then one < other when '$vlte' then one <= other
        when '$vgt' then one > other else one >= other
    end;
end
$$;

-- Whether a list holds the value or, where that is a list, an element of it; null is in none.
create function public.flag_within(value jsonb, list jsonb) returns boolean
language plpgsql immutable strict parallel safe
as $$
begin
    case jsonb_typeof(value)
        when 'null' then
            return false;
        when 'array' then
            return exists (
                select from jsonb_array_elements(value) as v (item)
                join jsonb_array_elements(list) as l (item) on l.item = v.item
            );
        when 'object' then
            return exists (
                select from jsonb_array_elements(list) as l (item) where l.item = value
            );
        else
            return list @> value;
    end case;
end
$$;

-- $in and its kin: false where the operand is no list.
create function public.flag_membership_holds(value jsonb, operator text, operand jsonb)
returns boolean
language plpgsql immutable strict parallel safe
as $$
begin
    if jsonb_typeof(operand) <> 'array' then
        return false;
    end if;
    case operator
        when '$in' then
            return public.flag_within(value, operand);
        when '$nin' then
            return not public.flag_within(value, operand);
        when '$ini' then
            return public.flag_within(
                public.flag_folded_value(value), public.flag_folded_value(operand)
            );
        else
            return not public.flag_within(
                public.flag_folded_value(value), public.flag_folded_value(operand)
            );
    end case;
end
$$;

-- $all: a list that holds every element of the operand.
create function public.flag_holds_all(value jsonb, operand jsonb) returns boolean
language plpgsql immutable strict parallel safe
as $$
begin
    return jsonb_typeof(value) = 'array'
        and jsonb_typeof(operand) = 'array'
        and not exists (
            select jsonb_array_elements(operand) except select jsonb_array_elements(value)
        );
end
$$;

-- $alli.
create function public.flag_holds_all_folded(value jsonb, operand jsonb) returns boolean
language sql immutable parallel safe
return public.flag_holds_all(
    public.flag_folded_value(value), public.flag_folded_value(operand)
);

-- What a class of a pattern holds: a range, an escape, a character.
create function public.flag_pattern_member() returns text
language sql immutable parallel safe
return '[0-9]-[0-9]|[A-Z]-[A-Z]|[a-z]-[a-z]|[^\u0001-\u007f]-[^\u0001-\u007f]'
    '|\\[!-/:-@[-`{-~]|[^][\\^-]';

-- What stands for one character: an escape, a class.
create function public.flag_pattern_atom() returns text
language sql immutable parallel safe
return '\\[!-/:-@[-`{-~]|\[\^?(?:-?(?:' || public.flag_pattern_member() || ')+-?|-)\]';

-- Whether no range of a class runs backwards.
create function public.flag_pattern_ranges_rise(pattern text) returns boolean
language sql immutable strict parallel safe
return not exists (
    select
    from regexp_matches(pattern, public.flag_pattern_atom(), 'g') as a (atom)
    cross join regexp_matches(a.atom[1], public.flag_pattern_member(), 'g') as m (member)
    where length(m.member[1]) = 3
        and left(m.member[1], 1) collate "C" > right(m.member[1], 1) collate "C"
);

-- Whether the counts in braces rise, and together come to 255 at most.
create function public.flag_pattern_counts_fit(pattern text) returns boolean
language sql immutable strict parallel safe
return (
    select coalesce(bool_and(b.low <= coalesce(b.high, b.low)), true)
        and coalesce(sum(greatest(b.low, b.high)), 0) <= 255
    from regexp_matches(
        regexp_replace(pattern, public.flag_pattern_atom(), '', 'g'),
        '\{([0-9]{1,3})(?:,([0-9]{1,3})?)?\}', 'g'
    ) as c (count)
    cross join lateral (
        select c.count[1]::integer as low, c.count[2]::integer as high
    ) as b
);

-- Whether groups, alternatives and repetitions are in order. Read with a for what stands for one
-- character, # for a count, g for a group that may be repeated, ^ for what may not.
create function public.flag_pattern_nests(pattern text) returns boolean
language plpgsql immutable strict parallel safe
as $$
declare
    branch constant text := '(?:[ag]\*?|a#|[\^$])+';
    branches constant text := branch || '(?:\|' || branch || ')*';
    symbols text := regexp_replace(
        pattern, public.flag_pattern_atom() || '|[^][{}()|*+?^$\\0-9,]', 'a', 'g'
    );
    reduced text;
begin
    symbols := regexp_replace(symbols, '\{[0-9]{1,3}(?:,(?:[0-9]{1,3})?)?\}', '#', 'g');
    symbols := translate(symbols, '0123456789,+?', 'aaaaaaaaaaa**');
    if length(symbols) - length(replace(symbols, '(', '')) > 10 then
        return false;
    end if;
    while strpos(symbols, '(') > 0 loop
        reduced := regexp_replace(symbols, '\([ag]+(?:\|[ag]+)*\)', 'g', 'g');
        if reduced = symbols then
            reduced := regexp_replace(symbols, '\(' || branches || '\)', '^', 'g');
        end if;
        if reduced = symbols then
            return false;
        end if;
        symbols := reduced;
    end loop;
    return symbols ~ ('^' || branches || '$');
end
$$;

-- Whether a pattern is of the subset that PostgreSQL and Python read alike: what
-- apps.flags.patterns takes. The first look knows most of those that people write.
create function public.flag_pattern_usable(pattern text) returns boolean
language plpgsql immutable strict parallel safe
as $$
declare
    usual constant text := '^\^?(?:(?:[-A-Za-z0-9 _@/:;%&#''"!~=<>.]|\\[!-/:-@[-`{-~]'
        '|\[\^?(?:a-z|A-Z|0-9|[A-Za-z0-9 _.@/:])+-?\])[*+?]?)+\$?$';
begin
    if length(pattern) not between 1 and 200 then
        return false;
    end if;
    return pattern ~ usual
        or (
            public.flag_pattern_nests(pattern)
            and (strpos(pattern, '[') = 0 or public.flag_pattern_ranges_rise(pattern))
            and (strpos(pattern, '{') = 0 or public.flag_pattern_counts_fit(pattern))
        );
end
$$;

-- $regex, and folded $regexi.
create function public.flag_text_matches(value jsonb, operand jsonb, folded boolean)
returns boolean
language plpgsql immutable strict parallel safe
as $$
declare
    written text collate "C" := value #>> '{}';
    pattern text := operand #>> '{}';
begin
    if jsonb_typeof(value) <> 'string'
        or jsonb_typeof(operand) <> 'string'
        or length(written) > 1000
        or not public.flag_pattern_usable(pattern)
    then
        return false;
    elsif folded then
        return public.flag_folded(written) ~ public.flag_folded(pattern);
    end if;
    return written ~ pattern;
end
$$;

-- $inGroup: a member has the value, or the segment's conditions match the context.
create function public.flag_in_segment(value jsonb, segment text, context jsonb, nesting integer)
returns boolean
language plpgsql stable strict parallel safe
as $$
declare
    members jsonb;
    conditions jsonb;
begin
    if nesting >= 5 then
        return false;
    end if;
    select s.members, s.conditions into members, conditions
    from public.flag_segments s
    where s.name = segment;
    if jsonb_typeof(value) in ('string', 'number')
        and jsonb_typeof(members) = 'array'
        and members @> value
    then
        return true;
    end if;
    return public.flag_condition_matches(conditions, context, nesting + 1);
end
$$;

-- $elemMatch: operators that an element meets, or a document that one which is an object meets.
create function public.flag_element_matches(
    value jsonb, operand jsonb, context jsonb, depth integer, nesting integer
) returns boolean
language plpgsql stable strict parallel safe
as $$
declare
    operators boolean := public.flag_are_operators(operand);
    element jsonb;
begin
    if jsonb_typeof(value) <> 'array' or operand = '{}' then
        return false;
    end if;
    for position in 0 .. jsonb_array_length(value) - 1 loop
        element := value -> position;
        continue when element = 'null';
        if operators then
            if public.flag_operators_hold(element, operand, context, depth + 1, nesting) then
                return true;
            end if;
        elsif jsonb_typeof(element) = 'object'
            and public.flag_document_matches(operand, element, context, depth + 1, nesting)
        then
            return true;
        end if;
    end loop;
    return false;
end
$$;

-- $size, by a number or by operators on the length.
create function public.flag_size_holds(
    value jsonb, operand jsonb, context jsonb, depth integer, nesting integer
) returns boolean
language plpgsql stable strict parallel safe
as $$
declare
    size jsonb;
begin
    if jsonb_typeof(value) <> 'array' then
        return false;
    end if;
    size := to_jsonb(jsonb_array_length(value));
    return size = operand
        or (
            public.flag_are_operators(operand)
            and public.flag_operators_hold(size, operand, context, depth + 1, nesting)
        );
end
$$;

-- Whether a value meets all of the operators. One expression: most values meet one operator, and
-- looking for each by name costs less than listing the names that are there.
create function public.flag_operators_hold(
    value jsonb, operators jsonb, context jsonb, depth integer, nesting integer
) returns boolean
language plpgsql stable strict parallel safe
as $$
begin
    return depth <= 10
        and coalesce(value = operators -> '$eq', true)
        and coalesce(value <> operators -> '$ne', true)
        and coalesce(public.flag_membership_holds(value, '$in', operators -> '$in'), true)
        and coalesce(public.flag_membership_holds(value, '$nin', operators -> '$nin'), true)
        and coalesce(public.flag_membership_holds(value, '$ini', operators -> '$ini'), true)
        and coalesce(public.flag_membership_holds(value, '$nini', operators -> '$nini'), true)
        and coalesce(public.flag_comparison_holds(value, '$lt', operators -> '$lt'), true)
        and coalesce(public.flag_comparison_holds(value, '$lte', operators -> '$lte'), true)
        and coalesce(public.flag_comparison_holds(value, '$gt', operators -> '$gt'), true)
        and coalesce(public.flag_comparison_holds(value, '$gte', operators -> '$gte'), true)
        and coalesce(public.flag_version_holds(value, '$veq', operators -> '$veq'), true)
        and coalesce(public.flag_version_holds(value, '$vne', operators -> '$vne'), true)
        and coalesce(public.flag_version_holds(value, '$vlt', operators -> '$vlt'), true)
        and coalesce(public.flag_version_holds(value, '$vlte', operators -> '$vlte'), true)
        and coalesce(public.flag_version_holds(value, '$vgt', operators -> '$vgt'), true)
        and coalesce(public.flag_version_holds(value, '$vgte', operators -> '$vgte'), true)
        and coalesce(to_jsonb(value <> 'null') = operators -> '$exists', true)
        and coalesce(to_jsonb(jsonb_typeof(value)) = operators -> '$type', true)
        and coalesce(public.flag_text_matches(value, operators -> '$regex', false), true)
        and coalesce(public.flag_text_matches(value, operators -> '$regexi', true), true)
        and coalesce(public.flag_holds_all(value, operators -> '$all'), true)
        and coalesce(public.flag_holds_all_folded(value, operators -> '$alli'), true)
        and (
            not operators ?| '{$inGroup,$notInGroup,$size,$elemMatch,$not}'
            or public.flag_inner_operators_hold(value, operators, context, depth, nesting)
        );
end
$$;

-- The operators that look further than at the value and the operand.
create function public.flag_inner_operators_hold(
    value jsonb, operators jsonb, context jsonb, depth integer, nesting integer
) returns boolean
language plpgsql stable strict parallel safe
as $$
declare
    inside jsonb := operators -> '$inGroup';
    outside jsonb := operators -> '$notInGroup';
    negated jsonb := operators -> '$not';
begin
    return coalesce(
            jsonb_typeof(inside) = 'string'
            and public.flag_in_segment(value, inside #>> '{}', context, nesting),
            true
        )
        and coalesce(
            jsonb_typeof(outside) = 'string'
            and not public.flag_in_segment(value, outside #>> '{}', context, nesting),
            true
        )
        and coalesce(
            public.flag_size_holds(value, operators -> '$size', context, depth, nesting), true
        )
        and coalesce(
            public.flag_element_matches(value, operators -> '$elemMatch', context, depth, nesting),
            true
        )
        and coalesce(
            public.flag_are_operators(negated)
            and not public.flag_operators_hold(value, negated, context, depth + 1, nesting),
            true
        );
end
$$;

-- What an attribute is; a dotted name leads through objects, never through lists.
create function public.flag_attribute(subject jsonb, name text) returns jsonb
language plpgsql immutable parallel safe
as $$
declare
    step text;
begin
    foreach step in array string_to_array(name, '.') loop
        subject := subject -> step;
    end loop;
    return coalesce(subject, 'null');
end
$$;

-- $and, $or, $nor and $not of documents.
create function public.flag_logic_holds(
    operator text, operand jsonb, subject jsonb, context jsonb, depth integer, nesting integer
) returns boolean
language plpgsql stable strict parallel safe
as $$
begin
    if operator = '$not' then
        return jsonb_typeof(operand) = 'object'
            and not public.flag_document_matches(operand, subject, context, depth + 1, nesting);
    elsif operator not in ('$and', '$or', '$nor') or jsonb_typeof(operand) <> 'array' then
        return false;
    elsif operand = '[]' then
        return operator <> '$nor';
    end if;
    for position in 0 .. jsonb_array_length(operand) - 1 loop
        -- $and ends with the first that fails, the others with the first that matches.
        if (operator = '$and') <> public.flag_document_matches(
            operand -> position, subject, context, depth + 1, nesting
        ) then
            return operator = '$or';
        end if;
    end loop;
    return operator <> '$or';
end
$$;

-- Whether an object meets a document.
create function public.flag_document_matches(
    document jsonb, subject jsonb, context jsonb, depth integer, nesting integer
) returns boolean
language plpgsql stable strict parallel safe
as $$
declare
    name text;
    operand jsonb;
    value jsonb;
    matches boolean;
begin
    if jsonb_typeof(document) <> 'object' or depth > 10 then
        return false;
    end if;
    foreach name in array array(select jsonb_object_keys(document)) loop
        operand := document -> name;
        if name ^@ '$' then
            matches := public.flag_logic_holds(name, operand, subject, context, depth, nesting);
        else
            value := case
                when strpos(name, '.') > 0 then public.flag_attribute(subject, name)
                else coalesce(subject -> name, 'null')
            end;
            matches := case
                when jsonb_typeof(operand) <> 'object' then value = operand
                when public.flag_are_operators(operand)
                    then public.flag_operators_hold(value, operand, context, depth, nesting)
                else value = operand and public.flag_is_value(operand)
            end;
        end if;
        if not matches then
            return false;
        end if;
    end loop;
    return true;
end
$$;

-- Whether an object that stands for an attribute is a value: {} is none, and one that has an
-- operator's name besides others neither.
create function public.flag_is_value(operand jsonb) returns boolean
language sql immutable parallel safe
return operand <> '{}'
    and not operand ?| (public.flag_operators() || '{$and,$or,$nor}'::text[]);

-- Whether every name that begins with $, however deep, is an operator's. As text, jsonb has a name
-- after a brace or a comma, and every quote inside of a text after a backslash.
create function public.flag_operators_known(document jsonb) returns boolean
language plpgsql immutable strict parallel safe
as $$
declare
    pieces text[] := string_to_array(replace(document::text, ', "$', '{"$'), '{"$');
    piece text;
begin
    foreach piece in array pieces[2:] loop
        -- An element of a list is found as well: no colon follows it.
        if '$' || split_part(left(piece, 12), '"', 1)
                <> all (public.flag_operators() || '{$and,$or,$nor}'::text[])
            and piece ~ '^(?:[^"\\]|\\.)*": '
        then
            return false;
        end if;
    end loop;
    return true;
end
$$;

-- Whether a context meets a document.
create function public.flag_condition_matches(
    condition jsonb, attributes jsonb, nesting integer default 0
) returns boolean
language plpgsql stable parallel safe
as $$
begin
    if coalesce(
        public.flag_document_matches(
            condition, coalesce(attributes, 'null'), coalesce(attributes, 'null'), 1, nesting
        ),
        false
    ) then
        return public.flag_operators_known(condition);
    end if;
    return false;
end
$$;

grant execute on function public.flag_condition_matches(jsonb, jsonb, integer)
to layoverhq_operator;
