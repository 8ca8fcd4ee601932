#include "tests/check.h"
#include "tests/suites.h"

int main(void)
{
    suite_frame();
    suite_document();
    suite_records();
    suite_backoff();
    suite_check();
    suite_board();
    suite_session();
    suite_faults();
    suite_calls();
    suite_events();
    suite_telemetry();
    suite_streamed();
    suite_update();
    suite_twin();
    suite_patch();
    suite_ota();
    suite_ota_attacks();
    suite_posix();
    suite_tls();
    suite_token();
    suite_certificate();
    suite_renew();
    return check_report();
}
