/* The suites of the unit tests, one per file. */
#ifndef YGG_TESTS_SUITES_H
#define YGG_TESTS_SUITES_H

void suite_frame(void);
void suite_document(void);
void suite_records(void);
void suite_backoff(void);
void suite_check(void);
void suite_board(void);
void suite_session(void);
void suite_faults(void);
void suite_calls(void);
void suite_events(void);
void suite_telemetry(void);
void suite_streamed(void);
void suite_update(void);
void suite_twin(void);
void suite_patch(void);
void suite_ota(void);
void suite_ota_attacks(void);
void suite_posix(void);
void suite_tls(void);
void suite_token(void);
void suite_certificate(void);
void suite_renew(void);

#endif
