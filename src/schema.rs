//! The tables, for both databases.
//!
//! Written by hand after `migrations/`; a test compares the two sets of migrations with each other.

diesel::table! {
    installation (id) {
        id -> SmallInt,
        nonce -> Binary,
        secret_check -> Binary,
        notices -> Text,
        set_up_at -> Nullable<BigInt>,
        retired_root -> Nullable<Binary>,
    }
}

diesel::table! {
    organizations (id) {
        id -> Binary,
        slug -> Text,
        name -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    people (id) {
        id -> Binary,
        email -> Text,
        email_folded -> Text,
        name -> Text,
        zone -> Nullable<Text>,
        disabled_at -> Nullable<BigInt>,
        created_at -> BigInt,
        email_verified_at -> Nullable<BigInt>,
        service_of -> Nullable<Binary>,
        seen_at -> Nullable<BigInt>,
        access_generation -> BigInt,
    }
}

diesel::table! {
    sign_in_methods (id) {
        id -> Binary,
        person_id -> Binary,
        kind -> Text,
        subject -> Text,
        credential -> Nullable<Text>,
        created_at -> BigInt,
        updated_at -> BigInt,
        issuer -> Text,
        label -> Text,
        used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    sign_in_flows (digest) {
        digest -> Binary,
        browser -> Binary,
        provider -> Text,
        nonce -> Text,
        verifier -> Text,
        purpose -> Text,
        next -> Text,
        person_id -> Nullable<Binary>,
        created_at -> BigInt,
    }
}

diesel::table! {
    mailed_links (id) {
        id -> Binary,
        person_id -> Binary,
        purpose -> Text,
        email -> Text,
        created_at -> BigInt,
        ends_at -> BigInt,
        used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    members (org_id, person_id) {
        org_id -> Binary,
        person_id -> Binary,
        role -> Text,
        joined_at -> BigInt,
        disabled_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    service_answerers (org_id, account_id, person_id) {
        org_id -> Binary,
        account_id -> Binary,
        person_id -> Binary,
    }
}

diesel::table! {
    invitations (id) {
        id -> Binary,
        org_id -> Binary,
        email -> Text,
        open_email -> Nullable<Text>,
        role -> Text,
        invited_by -> Binary,
        created_at -> BigInt,
        sent_at -> BigInt,
        sends -> BigInt,
        ends_at -> BigInt,
        accepted_at -> Nullable<BigInt>,
        withdrawn_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Binary,
        org_id -> Binary,
        name -> Text,
        name_folded -> Text,
        live_name -> Nullable<Text>,
        description -> Text,
        scopes -> Text,
        owner_id -> Binary,
        backup_id -> Nullable<Binary>,
        created_by -> Text,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
        expiring_at -> Nullable<BigInt>,
        disabled_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
        revoked_by -> Nullable<Text>,
        revoke_reason -> Nullable<Text>,
        requests_per_minute -> BigInt,
        allowed_ips -> Text,
        self_rotate -> Bool,
        secret_id -> Binary,
        last_used_at -> Nullable<BigInt>,
        previous_secret_id -> Nullable<Binary>,
        end_changes -> BigInt,
        notice_at -> Nullable<BigInt>,
        end_set_at -> Nullable<BigInt>,
        disabled_by -> Nullable<Text>,
        disabled_by_admin -> Bool,
        models -> Nullable<Text>,
    }
}

diesel::table! {
    key_secrets (id) {
        id -> Binary,
        org_id -> Binary,
        key_id -> Binary,
        digest -> Binary,
        prefix -> Text,
        last4 -> Text,
        sha256_prefix -> Text,
        created_at -> BigInt,
        first_used_at -> Nullable<BigInt>,
        last_used_at -> Nullable<BigInt>,
        last_address -> Nullable<Text>,
        last_program -> Nullable<Text>,
        superseded_at -> Nullable<BigInt>,
        superseded_by -> Nullable<Text>,
        ends_at -> Nullable<BigInt>,
        own_end_at -> Nullable<BigInt>,
        root -> Nullable<Binary>,
        ended -> Bool,
    }
}

diesel::table! {
    names_to_fold (key_id) {
        key_id -> Binary,
        org_id -> Binary,
    }
}

diesel::table! {
    calendar_feeds (org_id, person_id) {
        org_id -> Binary,
        person_id -> Binary,
        digest -> Binary,
        created_at -> BigInt,
    }
}

diesel::table! {
    schema_compatibility (id) {
        id -> SmallInt,
        oldest -> Text,
    }
}

diesel::table! {
    feed_head (id) {
        id -> SmallInt,
        position -> BigInt,
        stamp -> Binary,
        previous_stamp -> Binary,
        root -> Nullable<Binary>,
    }
}

diesel::table! {
    key_changes (position) {
        position -> BigInt,
        org_id -> Binary,
        key_id -> Binary,
        at -> BigInt,
        previous_stamp -> Binary,
    }
}

diesel::table! {
    feed_readers (id) {
        id -> Binary,
        position -> BigInt,
        seen_at -> BigInt,
    }
}

diesel::table! {
    audit_heads (org_id) {
        org_id -> Binary,
        size -> BigInt,
        hashed -> BigInt,
        edge -> Nullable<Binary>,
        origin -> Nullable<Text>,
        checked -> BigInt,
        checked_at -> Nullable<BigInt>,
        whole_at -> Nullable<BigInt>,
        broken_at -> Nullable<BigInt>,
        kept -> Nullable<Binary>,
        kept_size -> BigInt,
        epoch -> BigInt,
        broken_why -> Nullable<Text>,
        alarmed_at -> Nullable<BigInt>,
        mac -> Nullable<Binary>,
    }
}

diesel::table! {
    audit_entries (org_id, position) {
        org_id -> Binary,
        position -> BigInt,
        id -> Binary,
        at -> BigInt,
        actor -> Text,
        action -> Text,
        target -> Text,
        entry -> Text,
        leaf -> Nullable<Binary>,
        address -> Nullable<Text>,
    }
}

diesel::table! {
    sessions (digest) {
        digest -> Binary,
        id -> Binary,
        person_id -> Nullable<Binary>,
        state -> Text,
        address -> Text,
        program -> Text,
        signed_in_at -> Nullable<BigInt>,
        created_at -> BigInt,
        seen_at -> BigInt,
        ends_at -> BigInt,
    }
}

diesel::table! {
    sign_in_attempts (bucket) {
        bucket -> Binary,
        failures -> BigInt,
        last_at -> BigInt,
        blocked_until -> BigInt,
    }
}

diesel::table! {
    known_clients (digest) {
        digest -> Binary,
        seen_at -> BigInt,
    }
}

diesel::table! {
    idempotency_keys (digest) {
        digest -> Binary,
        org_id -> Binary,
        request -> Binary,
        answer -> Nullable<Text>,
        sealed -> Nullable<Binary>,
        created_at -> BigInt,
    }
}

diesel::table! {
    usage_counts (org_id, key_id, width, start, secret_id, scope, model, outcome) {
        org_id -> Binary,
        key_id -> Binary,
        width -> BigInt,
        start -> BigInt,
        secret_id -> Binary,
        scope -> Text,
        model -> Text,
        outcome -> Text,
        requests -> BigInt,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        cached_tokens -> BigInt,
        cache_write_tokens -> BigInt,
        reasoning_tokens -> BigInt,
    }
}

diesel::table! {
    usage_latencies (org_id, key_id, width, start, scope, model, bucket) {
        org_id -> Binary,
        key_id -> Binary,
        width -> BigInt,
        start -> BigInt,
        scope -> Text,
        model -> Text,
        bucket -> SmallInt,
        requests -> BigInt,
    }
}

diesel::table! {
    usage_callers (org_id, key_id, hour, secret_id, address, program) {
        org_id -> Binary,
        key_id -> Binary,
        secret_id -> Binary,
        hour -> BigInt,
        address -> Text,
        program -> Text,
        requests -> BigInt,
        last_at -> BigInt,
    }
}

diesel::table! {
    outbox (id) {
        id -> Binary,
        org_id -> Nullable<Binary>,
        person_id -> Nullable<Binary>,
        name -> Text,
        address -> Text,
        event -> Text,
        key_id -> Nullable<Binary>,
        message -> Text,
        state -> Text,
        attempts -> BigInt,
        due_at -> BigInt,
        claimed_by -> Nullable<Binary>,
        lease_until -> Nullable<BigInt>,
        last_error -> Nullable<Text>,
        created_at -> BigInt,
        sent_at -> Nullable<BigInt>,
        combined_in -> Nullable<Binary>,
        unanswered -> Bool,
    }
}

diesel::table! {
    notices (org_id, key_id, secret_id, ends_at, step) {
        org_id -> Binary,
        key_id -> Binary,
        secret_id -> Binary,
        ends_at -> BigInt,
        step -> BigInt,
        created_at -> BigInt,
    }
}

diesel::table! {
    notice_readers (org_id, key_id, secret_id, ends_at, step, person_id) {
        org_id -> Binary,
        key_id -> Binary,
        secret_id -> Binary,
        ends_at -> BigInt,
        step -> BigInt,
        person_id -> Binary,
        mail_id -> Nullable<Binary>,
        letter -> Nullable<Text>,
    }
}

diesel::table! {
    notice_seen (org_id, key_id, secret_id, ends_at) {
        org_id -> Binary,
        key_id -> Binary,
        secret_id -> Binary,
        ends_at -> BigInt,
        person_id -> Binary,
        at -> BigInt,
    }
}

diesel::table! {
    notice_preferences (person_id) {
        person_id -> Binary,
        muted -> Text,
        single -> Bool,
    }
}

diesel::table! {
    refusals (org_id, key_id, hour, code) {
        org_id -> Binary,
        key_id -> Binary,
        hour -> BigInt,
        code -> Text,
        requests -> BigInt,
        last_at -> BigInt,
        last_address -> Text,
        last_request -> Text,
    }
}

diesel::table! {
    refused_requests (org_id, request_id) {
        org_id -> Binary,
        request_id -> Text,
        key_id -> Binary,
        at -> BigInt,
        code -> Text,
        route -> Text,
        address -> Text,
        scope -> Nullable<Text>,
        by_role -> Bool,
    }
}

diesel::table! {
    audit_nodes (org_id, level, place) {
        org_id -> Binary,
        level -> SmallInt,
        place -> BigInt,
        hash -> Binary,
    }
}

diesel::table! {
    audit_checkpoints (org_id, size) {
        org_id -> Binary,
        size -> BigInt,
        at -> BigInt,
        note -> Text,
    }
}

diesel::table! {
    audit_signers (org_id, verifier) {
        org_id -> Binary,
        verifier -> Text,
        since -> BigInt,
        mac -> Nullable<Binary>,
    }
}

diesel::table! {
    audit_register (id) {
        id -> SmallInt,
        epoch -> BigInt,
        logs -> Binary,
        mac -> Binary,
    }
}

diesel::joinable!(api_keys -> organizations (org_id));

diesel::table! {
    usage_totals (org_id, width, start, scope, model, outcome) {
        org_id -> Binary,
        width -> BigInt,
        start -> BigInt,
        scope -> Text,
        model -> Text,
        outcome -> Text,
        requests -> BigInt,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        cached_tokens -> BigInt,
        cache_write_tokens -> BigInt,
        reasoning_tokens -> BigInt,
    }
}

diesel::table! {
    usage_total_latencies (org_id, width, start, scope, model, bucket) {
        org_id -> Binary,
        width -> BigInt,
        start -> BigInt,
        scope -> Text,
        model -> Text,
        bucket -> SmallInt,
        requests -> BigInt,
    }
}

diesel::table! {
    scope_uses (org_id, key_id, scope) {
        org_id -> Binary,
        key_id -> Binary,
        scope -> Text,
        granted_at -> Nullable<BigInt>,
        last_used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    key_addresses (org_id, key_id, address) {
        org_id -> Binary,
        key_id -> Binary,
        address -> Text,
        first_seen_at -> BigInt,
        last_seen_at -> BigInt,
    }
}

diesel::table! {
    review_findings (org_id, card, key_id, scope) {
        org_id -> Binary,
        card -> Text,
        key_id -> Binary,
        scope -> Text,
        since -> BigInt,
    }
}

diesel::table! {
    review_cards (org_id, card) {
        org_id -> Binary,
        card -> Text,
        found -> BigInt,
    }
}

diesel::table! {
    review_looks (org_id) {
        org_id -> Binary,
        looked_at -> BigInt,
        next_at -> BigInt,
        busy_until -> BigInt,
        live_keys -> BigInt,
        open_keys -> BigInt,
        remind_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    review_keeps (org_id, key_id, card, scope) {
        org_id -> Binary,
        key_id -> Binary,
        card -> Text,
        scope -> Text,
        kept_by -> Binary,
        kept_at -> BigInt,
        until -> BigInt,
    }
}

diesel::table! {
    scope_removals (org_id, key_id, scope, removed_at) {
        org_id -> Binary,
        key_id -> Binary,
        scope -> Text,
        removed_by -> Binary,
        removed_at -> BigInt,
        undone_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    key_policies (org_id) {
        org_id -> Binary,
        rules -> Text,
        saved_at -> BigInt,
        earlier -> Nullable<Text>,
        until -> Nullable<BigInt>,
    }
}

diesel::table! {
    policy_ends (key_id) {
        key_id -> Binary,
        org_id -> Binary,
        asked -> Nullable<BigInt>,
        moved_to -> BigInt,
    }
}

diesel::table! {
    limit_requests (id) {
        id -> Binary,
        org_id -> Binary,
        key_id -> Binary,
        asked_by -> Binary,
        asked_at -> BigInt,
        asked_limit -> BigInt,
        reason -> Text,
        state -> Text,
        decided_by -> Nullable<Binary>,
        decided_at -> Nullable<BigInt>,
        granted_limit -> Nullable<BigInt>,
        words -> Nullable<Text>,
    }
}

diesel::table! {
    checkpoint_mail (org_id) {
        org_id -> Binary,
        address -> Nullable<Text>,
        since -> Nullable<BigInt>,
        asked_address -> Nullable<Text>,
        asked_link -> Nullable<Binary>,
        asked_until -> Nullable<BigInt>,
        sent_at -> Nullable<BigInt>,
        sent_size -> BigInt,
        sent_broken -> Bool,
    }
}

diesel::table! {
    usage_journal (org_id, key_id, secret_id, start) {
        org_id -> Binary,
        key_id -> Binary,
        secret_id -> Binary,
        start -> BigInt,
        scope -> Text,
        model -> Text,
        outcome -> Text,
        bucket -> SmallInt,
        address -> Text,
        program -> Text,
        requests -> BigInt,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        cached_tokens -> BigInt,
        cache_write_tokens -> BigInt,
        reasoning_tokens -> BigInt,
        last_at -> BigInt,
    }
}

diesel::table! {
    usage_writers (id) {
        id -> Binary,
        batch -> BigInt,
        counted_until -> Nullable<BigInt>,
        seen_at -> BigInt,
    }
}

// Views of sums and journal together.
diesel::table! {
    all_usage_counts (org_id, key_id, width, start, secret_id, scope, model, outcome) {
        org_id -> Binary,
        key_id -> Binary,
        width -> BigInt,
        start -> BigInt,
        secret_id -> Binary,
        scope -> Text,
        model -> Text,
        outcome -> Text,
        requests -> BigInt,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        cached_tokens -> BigInt,
        cache_write_tokens -> BigInt,
        reasoning_tokens -> BigInt,
    }
}

diesel::table! {
    all_usage_latencies (org_id, key_id, width, start, scope, model, bucket) {
        org_id -> Binary,
        key_id -> Binary,
        width -> BigInt,
        start -> BigInt,
        scope -> Text,
        model -> Text,
        bucket -> SmallInt,
        requests -> BigInt,
    }
}

diesel::table! {
    all_usage_callers (org_id, key_id, hour, secret_id, address, program) {
        org_id -> Binary,
        key_id -> Binary,
        secret_id -> Binary,
        hour -> BigInt,
        address -> Text,
        program -> Text,
        requests -> BigInt,
        last_at -> BigInt,
    }
}

diesel::table! {
    all_usage_totals (org_id, width, start, scope, model, outcome) {
        org_id -> Binary,
        width -> BigInt,
        start -> BigInt,
        scope -> Text,
        model -> Text,
        outcome -> Text,
        requests -> BigInt,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        cached_tokens -> BigInt,
        cache_write_tokens -> BigInt,
        reasoning_tokens -> BigInt,
    }
}

diesel::table! {
    all_usage_total_latencies (org_id, width, start, scope, model, bucket) {
        org_id -> Binary,
        width -> BigInt,
        start -> BigInt,
        scope -> Text,
        model -> Text,
        bucket -> SmallInt,
        requests -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    checkpoint_mail,
    key_policies,
    policy_ends,
    limit_requests,
    installation,
    organizations,
    people,
    sign_in_methods,
    sign_in_flows,
    mailed_links,
    members,
    service_answerers,
    invitations,
    api_keys,
    calendar_feeds,
    key_secrets,
    names_to_fold,
    schema_compatibility,
    feed_head,
    key_changes,
    feed_readers,
    audit_heads,
    audit_entries,
    sessions,
    sign_in_attempts,
    idempotency_keys,
    usage_counts,
    usage_latencies,
    usage_callers,
    audit_signers,
    audit_checkpoints,
    audit_nodes,
    refused_requests,
    refusals,
    outbox,
    usage_totals,
    usage_total_latencies,
    usage_journal,
    usage_writers,
    all_usage_counts,
    all_usage_latencies,
    all_usage_callers,
    all_usage_totals,
    all_usage_total_latencies,
    scope_uses,
    key_addresses,
    review_findings,
    review_cards,
    review_looks,
    review_keeps,
    scope_removals,
    notices,
    notice_readers,
    notice_seen,
    notice_preferences,
);
