//! What every store must do, written once. Each case protects a sentence of `port::store`.

#![expect(clippy::unwrap_used, reason = "a case that cannot go on has failed")]

mod support {
    pub mod dialing;
    pub mod ending;
    pub mod enrolling;
    pub mod events;
    pub mod harness;
    pub mod memory;
    pub mod postgres;
    pub mod replicas;
    pub mod role;
    pub mod scene;
}

/// Hands every case to `$run`.
macro_rules! for_every_case {
    ($run:ident) => {
        $run! {
            dialing:
                a_held_lease_is_kept_from_others_and_its_epoch_stays,
                a_lease_that_ran_out_changes_hands_with_a_higher_epoch,
                a_released_lease_is_free_at_once_and_its_epoch_grows,
                control_shows_what_steers_dialing,
                control_keeps_finished_campaigns_while_evidence_may_come,
                peek_goes_by_date_then_lead_within_its_bounds,
                a_candidate_carries_what_binds_the_person,
                contacts_are_those_that_rang_since_the_asked_moment,
                a_due_lead_becomes_an_open_attempt,
                without_the_lease_nothing_begins,
                while_stopped_nothing_begins,
                only_an_active_campaign_of_the_judged_version_dials,
                a_lead_that_changed_or_is_gone_is_not_dialed,
                a_lead_whose_change_is_not_applied_is_not_dialed,
                a_due_row_that_moved_is_not_dialed,
                a_phone_has_one_open_attempt_across_campaigns,
                a_number_that_was_used_is_put_off_and_harms_nobody,
                confirm_reads_the_person_behind_open_attempts,
                confirm_counts_contacts_of_other_attempts,
                starts_are_what_may_have_been_sent,
                a_deferred_lead_moves_only_from_where_it_was_seen,
                a_disposed_lead_is_taken_only_from_where_it_was_seen,
                a_lane_is_known_from_its_first_lead_on,;
            ending:
                a_placed_reply_binds_its_call,
                a_placed_reply_may_lack_an_id,
                a_late_placed_reply_is_still_true,
                a_placed_attempt_learns_what_it_lacks,
                an_ended_attempt_keeps_its_end_and_learns_its_call,
                only_a_dialing_attempt_goes_in_doubt,
                the_time_of_sending_is_kept_once_known,
                an_open_attempt_moves_only_from_the_state_it_was_seen_in,
                an_attempt_ends_once_and_with_all_effects,
                an_end_may_bind_a_call,
                a_lead_that_is_done_is_disposed,
                an_attempt_ends_only_as_its_state_allows,
                an_opt_out_suppresses_for_good,
                a_phone_is_free_again_after_the_end,
                of_a_batch_each_end_stands_alone,
                history_is_what_has_ended_oldest_first,
                open_attempts_are_those_of_the_account_by_id,
                open_attempts_are_counted_by_what_limits_count,
                unknown_attempts_are_left_out_of_every_answer,;
            events:
                an_event_is_pending_until_it_is_done,
                events_are_seen_oldest_first_and_bounded,
                both_halves_of_a_result_are_seen_together,
                a_known_attempt_is_not_forgotten_by_putting_off,
                what_cannot_be_read_or_matched_is_kept_and_flagged,
                what_another_version_could_not_read_is_read_again,
                attempts_are_found_by_call_by_token_and_by_phone,
                another_accounts_calls_are_not_found,
                a_binding_is_for_good,
                a_call_is_bound_to_no_attempt_that_is_gone,
                late_evidence_adds_and_never_overwrites,
                late_evidence_is_kept_where_there_was_no_result,
                late_evidence_takes_a_lead_out_of_due_and_never_puts_it_in,
                late_evidence_does_not_disturb_the_next_attempt,
                evidence_about_an_open_attempt_stays_pending,
                old_events_go_but_never_a_pending_one,
                payloads_go_after_their_days_and_the_row_stays,
                deleted_leads_of_finished_campaigns_are_forgotten_after_their_days,;
            enrolling:
                every_kind_of_change_is_seen_oldest_first,
                a_change_that_comes_after_the_look_is_kept,
                a_change_waits_for_the_end_of_an_open_attempt,
                a_change_shows_the_leads_place_everywhere,
                a_new_list_is_walked_page_by_page,
                a_new_version_walks_its_lists_again,
                a_page_of_an_older_version_does_not_end_the_new_walk,
                a_pages_open_lead_is_looked_at_after_its_end,
                a_step_that_comes_too_late_is_left_alone_and_looked_at_again,
                a_page_notes_a_lead_that_moved_meanwhile,
                a_due_lead_moves_to_another_lane,
                steps_may_be_repeated,
                of_two_leads_with_one_phone_one_is_a_duplicate,
                a_phone_edit_gives_up_what_was_never_attempted,
                an_edit_to_a_taken_phone_makes_a_duplicate,
                a_reversible_verdict_keeps_the_numbering,
                a_final_verdict_stays,
                in_a_closing_campaign_nothing_becomes_due,
                a_suppression_that_ends_brings_its_leads_back,
                backlog_counts_what_is_left,
                a_backlog_is_counted_up_to_a_bound,
                a_closing_campaign_lets_go_of_what_is_due,
                a_campaign_advances_only_from_where_it_was,
                a_finished_campaign_with_due_leads_is_told,
                a_finished_campaign_is_not_walked,
                a_campaign_says_why_it_is_not_dialed,
                a_roster_replaces_the_one_before,
                a_changed_assistant_is_noticed_once_or_pauses_until_resumed,;
            replicas:
                replicas_know_how_many_share_their_accounts,
                whoever_leaves_is_not_counted_and_keeps_nothing,
                nobody_takes_more_than_its_share,
                what_was_acknowledged_and_is_gone_stops_every_account,
                while_calls_of_one_account_are_unknown_no_other_dials,
                an_intent_needs_the_one_before_it,
                on_another_history_nothing_begins_before_a_beat_has_seen_it,
                what_is_missing_is_looked_for_from_a_moment_that_is_known,
                without_any_sign_of_life_everything_is_looked_for,
                a_lost_attempt_is_open_again_with_its_call,
                a_lost_attempt_may_have_a_higher_number,
                a_lost_attempt_waits_for_its_person_and_its_lead,
                a_lost_attempt_of_a_lead_that_is_done_is_noted,
                without_a_token_the_waiting_lead_with_the_phone_is_meant,;
        }
    };
}

mod memory {
    use super::support::harness::Harness;
    use super::support::memory::MemoryHarness;
    use super::support::scene::Scene;

    macro_rules! run {
        ($($area:ident: $($case:ident,)+;)+) => {$(
            mod $area {
                $(#[tokio::test]
                async fn $case() {
                    let scene = super::Scene::set(super::MemoryHarness::new()).await;
                    super::super::support::$area::$case(&scene).await;
                    scene.assert_sound().await;
                })+
            }
        )+};
    }
    for_every_case!(run);

    #[tokio::test]
    async fn damage_is_found() {
        let scene = Scene::set(MemoryHarness::new()).await;
        let due = scene.due_lead(&super::support::scene::phone(1)).await;
        scene.h.renumber_due(scene.campaign, due.lead_id, 7, 6).await;
        let broken = scene.h.broken_invariants().await;
        assert_eq!(broken.len(), 2, "number and tries are both wrong: {broken:?}");
    }
}

mod postgres {
    use super::support::postgres::PostgresHarness;
    use super::support::scene::Scene;

    macro_rules! run {
        ($($area:ident: $($case:ident,)+;)+) => {$(
            mod $area {
                $(#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
                async fn $case(pool: sqlx::PgPool) {
                    let scene = super::Scene::set(super::PostgresHarness::new(pool).await).await;
                    super::super::support::$area::$case(&scene).await;
                    scene.assert_sound().await;
                })+
            }
        )+};
    }
    for_every_case!(run);
}

/// A part of the suite with the rights that `deploy/postgres/roles.sql` gives the daemon: every kind of statement it has.
mod postgres_with_few_rights {
    use super::support::postgres::PostgresHarness;
    use super::support::role::{apply_roles, pool_of};
    use super::support::scene::Scene;
    use super::support::{dialing, ending, enrolling, events, replicas};

    macro_rules! run {
        ($($area:ident::$case:ident,)+) => {$(
            #[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
            async fn $case(pool: sqlx::PgPool) {
                apply_roles(&pool).await;
                let scene = Scene::set(PostgresHarness::new(pool_of(&pool, "outdial").await).await).await;
                $area::$case(&scene).await;
                scene.assert_sound().await;
            }
        )+};
    }
    run! {
        dialing::a_due_lead_becomes_an_open_attempt,
        dialing::a_number_that_was_used_is_put_off_and_harms_nobody,
        ending::an_attempt_ends_once_and_with_all_effects,
        ending::an_opt_out_suppresses_for_good,
        events::late_evidence_adds_and_never_overwrites,
        events::what_another_version_could_not_read_is_read_again,
        events::old_events_go_but_never_a_pending_one,
        events::payloads_go_after_their_days_and_the_row_stays,
        events::deleted_leads_of_finished_campaigns_are_forgotten_after_their_days,
        enrolling::a_phone_edit_gives_up_what_was_never_attempted,
        enrolling::a_suppression_that_ends_brings_its_leads_back,
        enrolling::a_changed_assistant_is_noticed_once_or_pauses_until_resumed,
        replicas::what_was_acknowledged_and_is_gone_stops_every_account,
        replicas::while_calls_of_one_account_are_unknown_no_other_dials,
        replicas::on_another_history_nothing_begins_before_a_beat_has_seen_it,
        replicas::what_is_missing_is_looked_for_from_a_moment_that_is_known,
        replicas::without_any_sign_of_life_everything_is_looked_for,
        replicas::a_lost_attempt_is_open_again_with_its_call,
    }
}

/// What only the store in memory can show: faults on either side of the effect, and futures cut there.
mod faults {
    use std::sync::Arc;

    use outdial::adapter::memory::{Fault, MemoryStore, Point};
    use outdial::port::store::{Store, StoreError};

    use super::support::harness::Harness;
    use super::support::memory::MemoryHarness;
    use super::support::scene::{Scene, at, phone};

    fn struck(store: &MemoryStore, method: &'static str, at: Point, by: Fault) -> MemoryStore {
        store.with_faults(Arc::new(move |called, point| if called == method && point == at { by } else { Fault::None }))
    }

    #[tokio::test]
    async fn a_fault_strikes_before_the_effect_or_after_it() {
        let cases = [
            (Point::Before, Fault::Unavailable, false),
            (Point::Before, Fault::CommitUnknown, false),
            (Point::After, Fault::CommitUnknown, true),
            (Point::After, Fault::Unavailable, true),
        ];
        for (point, fault, begun) in cases {
            let scene = Scene::set(MemoryHarness::new()).await;
            let due = scene.due_lead(&phone(1)).await;
            let store = struck(&scene.h.store, "begin_dials", point, fault);
            let answer = store.begin_dials(&scene.lease, &[scene.intent(&due)], None, at(10)).await;
            let nothing_written = matches!(answer, Err(StoreError::Unavailable(_)));
            assert!(answer.is_err(), "{point:?} {fault:?}");
            assert!(!(nothing_written && begun), "who hears that nothing was written may trust it");
            assert_eq!(scene.open(scene.intent(&due).attempt_id).await.is_some(), begun, "{point:?} {fault:?}");
            scene.assert_sound().await;
        }
    }

    #[tokio::test]
    async fn a_read_never_leaves_a_commit_in_doubt() {
        let scene = Scene::set(MemoryHarness::new()).await;
        for point in [Point::Before, Point::After] {
            let store = struck(&scene.h.store, "control", point, Fault::CommitUnknown);
            assert!(matches!(store.control().await, Err(StoreError::Unavailable(_))));
        }
    }

    /// Polls a future `polls` times and drops it.
    fn cut<T>(future: impl Future<Output = T>, polls: usize) -> bool {
        let mut future = std::pin::pin!(future);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        (0..polls).any(|_| future.as_mut().poll(&mut context).is_ready())
    }

    #[tokio::test]
    async fn a_dropped_write_has_happened_wholly_or_not_at_all() {
        for (polls, begun, answered) in [(0, false, false), (1, false, false), (2, true, false), (3, true, true)] {
            let scene = Scene::set(MemoryHarness::new()).await;
            let due = scene.due_lead(&phone(1)).await;
            let intents = [scene.intent(&due)];
            let done = cut(scene.store().begin_dials(&scene.lease, &intents, None, at(10)), polls);
            assert_eq!(done, answered, "after {polls} polls");
            assert_eq!(scene.open(intents[0].attempt_id).await.is_some(), begun, "after {polls} polls");
            assert_eq!(scene.h.due(scene.campaign, due.lead_id).await.is_none(), begun, "after {polls} polls");
            scene.assert_sound().await;
        }
    }
}
