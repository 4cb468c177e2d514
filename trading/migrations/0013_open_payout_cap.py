from importlib import import_module

from django.db import migrations, models

# Placing also reads what all open orders of an account may pay out together, where its book limits that, and
# what they can pay now. No book without the limit adds anything up: this is asked for every order. Both come
# last, where code that does not know them does not look.
READ = """
CREATE OR REPLACE FUNCTION trading_read_placement(
    customer bigint, sign_in uuid, wanted_account bigint, wanted_client_id text, wanted_symbol text,
    wanted_side text, instant timestamptz
) RETURNS text
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    found text;
    is_limited boolean;
    money_scale int;
    open_payout numeric;
BEGIN
    SELECT json_build_array(
        u.is_active AND (sign_in IS NULL OR EXISTS (
            SELECT FROM kyc_refreshfamily f WHERE f.id = sign_in AND f.user_id = u.id AND f.revoked_at IS NULL)),
        EXISTS (SELECT FROM kyc_restriction r WHERE r.customer_id = u.id AND r.lifted_at IS NULL
                AND r.scope IN ('sign_in', 'trading') AND r.starts_at <= instant
                AND (r.ends_at IS NULL OR r.ends_at > instant)),
        CASE WHEN b.kind = 'real' THEN coalesce(j.allows_real AND NOT j.is_sanctioned, false)
             ELSE NOT coalesce(j.is_sanctioned, false) END,
        a.id, a.owner_id, a.balance, escrow.id, b.id, b.kind::text, b.currency::text, b.scale,
        coalesce(b.opens_at <= instant, true) AND coalesce(instant < b.closes_at, true),
        b.closes_at,
        coalesce(bt.all_instruments OR EXISTS (
            SELECT FROM trading_bookterms_instruments bi
            WHERE bi.bookterms_id = b.id AND bi.instrument_id = i.id), false),
        b.code::text,
        i.id, i.is_listed, i.is_suspended, i.price_decimals, i.max_quote_age_ms, i.max_source_lag_ms,
        c.time_zone::text,
        (SELECT json_agg(json_build_array(w.effective_from, w.hours) ORDER BY w.effective_from)::text
         FROM quotes_calendarweek w WHERE w.calendar_id = c.code),
        (SELECT json_agg(json_build_array(x.starts_at, x.ends_at, x.is_open) ORDER BY x.id)::text
         FROM quotes_calendarexception x WHERE x.calendar_id = c.code AND x.ends_at > instant),
        t.id, t.version, t.contracts, t.min_stake, t.max_stake, t.min_duration_seconds,
        t.max_duration_seconds, t.cutoff_seconds, t.min_duration_ticks, t.max_duration_ticks,
        t.max_tick_wait_seconds, t.margin, t.min_priced_rate, t.max_priced_rate,
        t.max_open_orders, t.entry_policy::text, t.entry_delay_ms,
        p.rate, v.id, v.at, v.per_sqrt_second, v.tick_seconds,
        wm.at, wm.last_at, wm.last_seq, wm.last_price, wm.source_lag_ms, wm.source = 'simulated',
        o.id,
        (SELECT count(*) FROM trading_order x WHERE x.account_id = a.id AND x.status = 'open'),
        CASE WHEN b.kind = 'real' THEN cl.max_stake END,
        CASE WHEN b.kind = 'real' THEN cl.max_daily_loss END,
        CASE WHEN b.kind = 'real' THEN cl.max_open_orders END,
        (SELECT json_agg(json_build_array(l.instrument_class::text, l.instrument_id IS NOT NULL, l.side::text, l.most, (
            SELECT coalesce(sum(e.profit), 0) FROM trading_exposure e JOIN quotes_instrument ei ON ei.id = e.instrument_id
            WHERE e.book_id = b.id AND (l.instrument_id IS NULL OR e.instrument_id = l.instrument_id)
              AND (l.instrument_class = '' OR ei.instrument_class = l.instrument_class)
              AND (l.side = '' OR e.side = l.side))) ORDER BY l.id)
         FROM trading_risklimit l
         WHERE l.book_id = b.id AND l.starts_at <= instant AND (l.ends_at IS NULL OR l.ends_at > instant)
           AND (l.instrument_id IS NULL OR l.instrument_id = i.id)
           AND (l.instrument_class = '' OR l.instrument_class = i.instrument_class)
           AND (l.side = '' OR l.side = wanted_side)),
        (SELECT json_agg(json_build_array(k.effect::text, k.contract::text, k.cut, k.ends_at) ORDER BY k.id)
         FROM trading_curb k
         WHERE tstzrange(k.starts_at, k.ends_at) @> instant
           AND (k.book_id IS NULL OR k.book_id = b.id)
           AND (k.instrument_id IS NULL OR k.instrument_id = i.id)
           AND (k.instrument_class = '' OR k.instrument_class = i.instrument_class)
           AND (k.side = '' OR k.side = wanted_side)),
        bt.max_open_payout
    )::text, bt.max_open_payout IS NOT NULL, b.scale INTO found, is_limited, money_scale
    FROM kyc_user u
    LEFT JOIN kyc_jurisdiction j ON j.country = u.country
    LEFT JOIN ledger_account a ON a.id = wanted_account AND a.owner_id = u.id
    LEFT JOIN ledger_book b ON b.id = a.book_id
    LEFT JOIN ledger_account escrow
        ON escrow.book_id = b.id AND escrow.code = 'escrow' AND escrow.owner_id IS NULL
    LEFT JOIN trading_bookterms bt ON bt.book_id = b.id
    LEFT JOIN quotes_instrument i ON i.symbol = wanted_symbol
    LEFT JOIN quotes_calendar c ON c.code = i.calendar_id
    LEFT JOIN LATERAL (
        SELECT * FROM trading_terms WHERE instrument_id = i.id ORDER BY version DESC LIMIT 1) t ON true
    LEFT JOIN LATERAL (
        SELECT rate FROM trading_payoutrate WHERE instrument_id = i.id ORDER BY id DESC LIMIT 1) p ON true
    LEFT JOIN LATERAL (
        SELECT * FROM trading_volatilityestimate WHERE instrument_id = i.id ORDER BY id DESC LIMIT 1) v ON true
    LEFT JOIN LATERAL (
        SELECT * FROM trading_customerlimits WHERE customer_id = u.id ORDER BY id DESC LIMIT 1) cl ON true
    LEFT JOIN quotes_watermark wm ON wm.instrument_id = i.id
    LEFT JOIN trading_order o ON o.account_id = a.id AND o.client_id = wanted_client_id
    WHERE u.id = customer;
    -- In a statement of its own: even where it is not run, another subselect takes 1.5 % of placing.
    IF is_limited THEN
        SELECT coalesce(sum(x.stake + trunc(x.stake * x.payout_rate, money_scale)), 0) INTO open_payout
        FROM trading_order x WHERE x.account_id = wanted_account AND x.status = 'open';
    END IF;
    RETURN left(found, -1) || ', ' || coalesce(open_payout::text, 'null') || ']';
END $$;
"""

# The same sum again under the account's lock, and only where there is a limit. Whoever calls without the last
# argument, as code before this did, asks for none.
PLACE = """
CREATE FUNCTION trading_place(
    new_id uuid, for_account bigint, new_client_id text, sha bytea, customer bigint, new_shard int,
    for_instrument bigint, for_terms bigint, new_contract text, new_side text, new_stake numeric, rate numeric,
    accepted timestamptz, seconds int, ticks int, new_barrier numeric, new_low numeric, new_high numeric,
    relative boolean, new_digit int, priced_with bigint, when_seq bigint, when_low numeric, when_high numeric,
    pending_after timestamptz, expires timestamptz,
    tick_at timestamptz, tick_seq bigint, tick_price numeric,
    escrow bigint, transfer uuid, max_open int, money_scale int, topic text, opened jsonb, changed jsonb, longest_wait interval,
    for_book bigint, new_profit numeric, most_profit numeric, most_loss numeric, most_payout numeric DEFAULT NULL,
    OUT answer text, OUT open_orders bigint, OUT amount numeric
)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    called timestamptz := clock_timestamp();
    balance numeric;
    version bigint;
BEGIN
    IF most_loss IS NULL THEN
        PERFORM 1 FROM ledger_account a WHERE a.id = for_account FOR NO KEY UPDATE;
    ELSE  -- his limit is over all his accounts of real money
        PERFORM 1 FROM ledger_account a JOIN ledger_book b ON b.id = a.book_id
        WHERE a.owner_id = customer AND b.kind = 'real' ORDER BY a.id FOR NO KEY UPDATE OF a;
    END IF;
    IF clock_timestamp() - called > longest_wait THEN
        answer := 'busy';
        RETURN;
    END IF;
    PERFORM 1 FROM trading_order o WHERE o.account_id = for_account AND o.client_id = new_client_id;
    IF FOUND THEN
        answer := 'repeated';
        RETURN;
    END IF;
    SELECT count(*) INTO open_orders FROM trading_order o WHERE o.account_id = for_account AND o.status = 'open';
    IF open_orders >= max_open THEN
        answer := 'too_many_open';
        RETURN;
    END IF;
    IF most_payout IS NOT NULL THEN
        SELECT coalesce(sum(o.stake + trunc(o.stake * o.payout_rate, money_scale)), 0) INTO amount
        FROM trading_order o WHERE o.account_id = for_account AND o.status = 'open';
        IF amount + new_stake + new_profit > most_payout THEN
            answer := 'open_payout';
            RETURN;
        END IF;
    END IF;
    IF most_loss IS NOT NULL THEN
        SELECT coalesce(sum(o.stake), 0) - (
            SELECT coalesce(sum(t.profit), 0) FROM trading_tally t
            JOIN ledger_account a ON a.id = t.account_id JOIN ledger_book b ON b.id = a.book_id
            WHERE a.owner_id = customer AND b.kind = 'real' AND t.day = (accepted AT TIME ZONE 'UTC')::date)
        INTO amount
        FROM trading_order o JOIN ledger_account a ON a.id = o.account_id JOIN ledger_book b ON b.id = a.book_id
        WHERE a.owner_id = customer AND b.kind = 'real' AND o.status = 'open';
        IF amount + new_stake > most_loss THEN
            answer := 'daily_loss';
            RETURN;
        END IF;
    END IF;
    SELECT p.source_balance, p.source_version INTO balance, version
    FROM ledger_post(ARRAY[transfer], ARRAY[for_account], ARRAY[escrow], ARRAY[new_stake], ARRAY['stake'],
                     ARRAY[new_id::text], accepted) p;
    INSERT INTO trading_order (
        id, account_id, client_id, request_sha256, customer_id, shard, instrument_id, terms_id, contract, side,
        stake, payout_rate, status, accepted_at, duration_seconds, duration_ticks, barrier, low, high, is_relative,
        digit, volatility_id, due_seq, reach_low, reach_high, entry_after, expires_at,
        entry_at, entry_seq, entry_price, parked_because)
    VALUES (
        new_id, for_account, new_client_id, sha, customer, new_shard, for_instrument, for_terms, new_contract,
        new_side, new_stake, rate, 'open', accepted, seconds, ticks, new_barrier, new_low, new_high, relative,
        new_digit, priced_with, when_seq, when_low, when_high, pending_after, expires,
        tick_at, tick_seq, tick_price, '');
    INSERT INTO core_fact (topic, name, payload, created_at, attempts, error) VALUES
        (topic, 'order.opened', opened || jsonb_build_object('version', version), accepted, 0, ''),
        (topic, 'account.changed', changed || jsonb_build_object(
            'balance', round(balance, money_scale)::text, 'version', version, 'from_version', version - 1), accepted, 0, '');
    -- Last, because everybody on this side waits for its row until the commit.
    INSERT INTO trading_exposure AS e (book_id, instrument_id, side, open_orders, stakes, profit)
    VALUES (for_book, for_instrument, new_side, 1, new_stake, new_profit)
    ON CONFLICT (book_id, instrument_id, side) DO UPDATE SET
        open_orders = e.open_orders + 1, stakes = e.stakes + excluded.stakes, profit = e.profit + excluded.profit
        WHERE most_profit IS NULL OR e.profit + excluded.profit <= most_profit;
    IF NOT FOUND THEN
        SELECT e.profit INTO amount FROM trading_exposure e
        WHERE e.book_id = for_book AND e.instrument_id = for_instrument AND e.side = new_side;
        RAISE EXCEPTION 'exposure' USING ERRCODE = 'TH101', DETAIL = amount::text;
    END IF;
    answer := 'placed';
END $$;
"""

# As they were, for the way back.
READ_BEFORE = import_module("trading.migrations.0009_curbs_at_placement").READ
PLACE_BEFORE = import_module("trading.migrations.0006_functions").PLACE


class Migration(migrations.Migration):
    dependencies = [("trading", "0012_corrections")]

    operations = [
        migrations.AddField(
            model_name="bookterms",
            name="max_open_payout",
            field=models.DecimalField(
                blank=True,
                decimal_places=8,
                help_text="What all open orders of an account may pay out together.",
                max_digits=28,
                null=True,
            ),
        ),
        migrations.RunSQL(READ, READ_BEFORE),
        migrations.RunSQL("DROP FUNCTION trading_place", PLACE_BEFORE),
        migrations.RunSQL(PLACE, "DROP FUNCTION trading_place"),
    ]
