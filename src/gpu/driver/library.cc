#include "gpu/driver/library.h"

#include <dlfcn.h>

namespace regard::gpu {

SharedLibrary::SharedLibrary(std::initializer_list<std::string> names) {
  for (const std::string& name : names) {
    if (load(name)) {
      return;
    }
  }
}

bool SharedLibrary::load(const std::string& name) {
  handle_ = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL);
  return is_loaded();
}

void* SharedLibrary::address_of(const char* name) const {
  return is_loaded() ? dlsym(handle_, name) : nullptr;
}

}  // namespace regard::gpu
