from django.db import migrations

# Placing also reads what holds trading back at its instant; all else is as it was.
READ = """
CREATE OR REPLACE FUNCTION trading_read_placement(
    customer bigint, sign_in uuid, wanted_account bigint, wanted_client_id text, wanted_symbol text,
    wanted_side text, instant timestamptz
) RETURNS text
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    found text;
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
           AND (k.side = '' OR k.side = wanted_side))
    )::text INTO found
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
    RETURN found;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("trading", "0008_curbs_alerts_refusals")]

    operations = [migrations.RunSQL(READ, migrations.RunSQL.noop)]
