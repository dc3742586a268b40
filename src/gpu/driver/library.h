// A shared library that may or may not be there.
#pragma once

#include <initializer_list>
#include <string>

namespace regard::gpu {

class SharedLibrary {
 public:
  SharedLibrary() = default;
  // The first of `names` that the loader finds.
  explicit SharedLibrary(std::initializer_list<std::string> names);

  // Loads `name`; whether that worked. Never closed: the drivers start threads that do not survive
  // their own unloading.
  bool load(const std::string& name);
  bool is_loaded() const { return handle_ != nullptr; }

  // Null where the library has no such symbol, or is not loaded.
  template <typename Function>
  Function* symbol(const char* name) const {
    return reinterpret_cast<Function*>(address_of(name));
  }

 private:
  void* address_of(const char* name) const;

  void* handle_ = nullptr;
};

}  // namespace regard::gpu
