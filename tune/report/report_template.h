// The text of report.html.in, put into the library by the build.
#pragma once

#include <string_view>

namespace tune {

extern const std::string_view kReportTemplate;

}  // namespace tune
