/* Uses the installed C interface. */
#include <regard/regard.h>
#include <string.h>

int main(void) {
  regard_attention_args args;
  regard_attention_args_init(&args);
  return args.struct_size == sizeof(args) &&
                 regard_attention_forward(NULL) == REGARD_INVALID_ARGUMENT &&
                 strlen(regard_last_error()) > 0
             ? 0
             : 1;
}
