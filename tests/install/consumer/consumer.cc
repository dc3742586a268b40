// Uses the installed C++ interface: one query of one key gives the value, and an error is caught as
// regard::Error.
#include <cstring>

#include "regard/attention.h"
#include "regard/error.h"

int main() {
  float q = 1.0f, k = 2.0f, v = 3.0f, o = 0.0f;
  const auto view = [](float& value) {
    return regard::View{.data = &value, .batch = 1, .seq = 1, .heads = 1, .dim = 1};
  };
  const regard::Problem problem =
      regard::lower(regard::Module::sdpa, view(q), view(k), view(v), {});
  regard::attention_forward(problem, {.o = view(o)}, regard::backend_of(regard::Module::sdpa));
  try {
    regard::describe_machine("abacus");
  } catch (const regard::Error& error) {
    return o == 3.0f && std::strstr(error.what(), "abacus") != nullptr ? 0 : 1;
  }
  return 1;
}
